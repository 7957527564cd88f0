/**
 * First half of the commit: every message is in `tmp/`, and its data is on the disk.
 *
 * A failed flush says the truth once: the kernel marks the pages clean, and the next flush of that file
 * succeeds although its data is lost. So no file is flushed twice. The message is written once more,
 * to a new file, and flushed there on a descriptor held since that file was made.
 *
 * Source: fsync(2), wiki.postgresql.org/wiki/Fsync_Errors; docs/explanation/durability.md.
 */
import { join } from "node:path";
import { type Descriptor, errnoOf } from "../system/index.ts";
import { writeBody } from "./body.ts";
import { MaildirError } from "./errors.ts";
import type { Mailbox } from "./mailbox.ts";
import { fail, type MailboxBatch, notFailed, type PendingDelivery } from "./pending-delivery.ts";
import { byDevice, planOf } from "./plan.ts";
import type { DeliverTools } from "./tools.ts";

/** A letter and the mailbox in whose `tmp/` it is written. */
interface Draft {
  readonly letter: PendingDelivery;
  readonly mailbox: Mailbox;
}

/** Descriptors held at once by a batch; a larger batch is flushed in as many rounds. */
const maxOpenDrafts = 64;

export async function syncData(
  bundles: readonly MailboxBatch[],
  tools: DeliverTools,
): Promise<void> {
  await Promise.all(
    byDevice(bundles).map(async (ofDevice) => {
      const drafts = ofDevice.flatMap(({ mailbox, letters }) =>
        notFailed(letters).map((letter) => ({ letter, mailbox })),
      );
      if (planOf("data", drafts.length, tools) === "each") await syncEach(drafts, tools, "first");
      else await syncInBulk(drafts, tools);
    }),
  );
}

async function syncInBulk(drafts: readonly Draft[], tools: DeliverTools): Promise<void> {
  for (const draft of drafts) {
    const file = writeDraft(draft, tools, draft.letter.id);
    if (file !== undefined) closeDraft(draft, file, tools);
  }
  const written = drafts.filter(({ letter }) => letter.failure === undefined);
  if (written.length === 0) return;
  try {
    await tools.syncFileSystem?.(written[0]!.mailbox.path);
  } catch {
    // Whose data was lost nobody can say: each message gets a new file and an outcome of its own.
    await syncEach(written, tools, "again");
  }
}

async function syncEach(
  drafts: readonly Draft[],
  tools: DeliverTools,
  attempt: "first" | "again",
): Promise<void> {
  const damaged: Draft[] = [];
  for (let at = 0; at < drafts.length; at += maxOpenDrafts) {
    await Promise.all(
      drafts.slice(at, at + maxOpenDrafts).map(async (draft) => {
        const { id } = draft.letter;
        const file = writeDraft(draft, tools, attempt === "first" ? id : `${id}.again`);
        if (file === undefined) return;
        const cause = await flushFailure(draft, file, tools);
        if (cause === undefined) return;
        if (attempt === "first") damaged.push(draft);
        else refuseUnsynced(draft, tools, cause);
      }),
    );
  }
  if (damaged.length > 0) await syncEach(damaged, tools, "again");
}

/** Writes the message to a new file, which stays open. A failure is noted and leaves no file. */
function writeDraft(
  { letter, mailbox }: Draft,
  tools: DeliverTools,
  name: string,
): Descriptor | undefined {
  const { fileSystem } = tools;
  removeDraft(letter, tools);
  const path = join(mailbox.tmp, name);
  let file: Descriptor | undefined;
  try {
    file = fileSystem.createExclusive(path, 0o600);
    letter.draft = path;
    writeBody(letter.body, file, fileSystem);
    if (letter.receivedAt) fileSystem.setModified(file, letter.receivedAt.getTime());
    return file;
  } catch (cause) {
    if (file !== undefined) closeQuietly(file, tools);
    refuseUnwritten({ letter, mailbox }, tools, path, cause);
    return undefined;
  }
}

/** Flushes and closes the file, and returns the error if there was one. */
async function flushFailure(
  { letter }: Draft,
  file: Descriptor,
  { fileSystem }: DeliverTools,
): Promise<unknown> {
  try {
    // fdatasync(2) may leave out the modification time, which matters only where we set it.
    await (letter.receivedAt ? fileSystem.sync(file) : fileSystem.syncData(file));
  } catch (cause) {
    closeQuietly(file, { fileSystem });
    return cause ?? new Error("flush failed without an error");
  }
  try {
    fileSystem.close(file);
    return undefined;
  } catch (cause) {
    return cause;
  }
}

function closeDraft(draft: Draft, file: Descriptor, tools: DeliverTools): void {
  try {
    tools.fileSystem.close(file);
  } catch (cause) {
    refuseUnwritten(draft, tools, draft.letter.draft ?? draft.mailbox.tmp, cause);
  }
}

function refuseUnwritten(
  { letter, mailbox }: Draft,
  tools: DeliverTools,
  path: string,
  cause: unknown,
): void {
  if (errnoOf(cause) === "ENOENT") tools.known.forget(mailbox);
  if (cause instanceof MaildirError) fail(letter, cause.code, cause.message, cause);
  else fail(letter, "ERR_MAILDIR_WRITE_FAILED", `${path} cannot be written`, { path, cause });
  removeDraft(letter, tools);
}

function refuseUnsynced({ letter, mailbox }: Draft, tools: DeliverTools, cause: unknown): void {
  const path = letter.draft ?? mailbox.tmp;
  fail(letter, "ERR_MAILDIR_SYNC_FAILED", `the disk did not keep ${path}, at the second try`, {
    path,
    cause,
  });
  removeDraft(letter, tools);
}

/** Removes what was written in `tmp/`, as far as the disk allows; a sweep finds the rest. */
export function removeDraft(
  letter: PendingDelivery,
  { fileSystem }: Pick<DeliverTools, "fileSystem">,
): void {
  if (letter.draft === undefined) return;
  try {
    fileSystem.unlink(letter.draft);
  } catch {
    // Whatever is wrong with the disk has been, or will be, reported where it matters.
  }
  letter.draft = undefined;
}

function closeQuietly(file: Descriptor, { fileSystem }: Pick<DeliverTools, "fileSystem">): void {
  try {
    fileSystem.close(file);
  } catch {
    // The first error is the one to tell.
  }
}
