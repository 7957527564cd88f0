/**
 * First half of the commit: every message is in `tmp/`, and its data is durable.
 *
 * A failed flush is reported once: the kernel marks the pages clean, and the next flush of that
 * file succeeds although its data is lost. So no file is flushed twice. The message is written
 * once more, to a new file, and flushed there on a descriptor held since that file was made.
 *
 * Source: fsync(2), wiki.postgresql.org/wiki/Fsync_Errors; docs/explanation/durability.md.
 */
import { join } from "node:path";
import { type Descriptor, errnoOf, type FileSystem } from "../system/index.ts";
import { writeBody } from "./body.ts";
import { MaildirError } from "./errors.ts";
import type { Mailbox } from "./mailbox.ts";
import { fail, type MailboxBatch, notFailed, type PendingDelivery } from "./pending-delivery.ts";
import { byDevice, planOf } from "./plan.ts";
import type { DeliverTools } from "./tools.ts";

/** A delivery and the mailbox in whose `tmp/` it is written. */
interface Draft {
  readonly delivery: PendingDelivery;
  readonly mailbox: Mailbox;
}

/** Files of a batch that are open at once; a larger batch is flushed in as many rounds. */
const maxOpenDrafts = 64;

/** Writes the messages and flushes their data; sets the failure of those that are not durable. */
export async function writeDurably(
  batches: readonly MailboxBatch[],
  tools: DeliverTools,
): Promise<void> {
  await Promise.all(
    byDevice(batches).map(async ({ batches: ofDevice, path }) => {
      const drafts = ofDevice.flatMap(({ mailbox, deliveries }) =>
        notFailed(deliveries).map((delivery) => ({ delivery, mailbox })),
      );
      if (planOf("data", drafts.length, tools) === "each") await syncEach(drafts, tools, "first");
      else await syncInBulk(drafts, path, tools);
    }),
  );
}

async function syncInBulk(
  drafts: readonly Draft[],
  path: string,
  tools: DeliverTools,
): Promise<void> {
  for (const draft of drafts) {
    const file = writeDraft(draft, tools, draft.delivery.id);
    if (file !== undefined) closeDraft(draft, file, tools);
  }
  const written = drafts.filter(({ delivery }) => delivery.failure === undefined);
  if (written.length === 0) return;
  try {
    await tools.syncFileSystem?.(path);
  } catch {
    // Which data was lost is not known: each message gets a new file and a result of its own.
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
        const { id } = draft.delivery;
        const file = writeDraft(draft, tools, attempt === "first" ? id : `${id}.again`);
        if (file === undefined) return;
        const cause = await syncFailure(draft, file, tools);
        if (cause === undefined) return;
        if (attempt === "first") damaged.push(draft);
        else failUnsynced(draft, tools, cause);
      }),
    );
  }
  if (damaged.length > 0) await syncEach(damaged, tools, "again");
}

/**
 * Writes the message to a new file, which stays open. On an error the delivery fails, and the
 * file is removed.
 */
function writeDraft(
  { delivery, mailbox }: Draft,
  tools: DeliverTools,
  name: string,
): Descriptor | undefined {
  const { fileSystem } = tools;
  removeDraft(delivery, fileSystem);
  const path = join(mailbox.tmp, name);
  let file: Descriptor | undefined;
  try {
    file = fileSystem.createExclusive(path, 0o600);
    delivery.draft = path;
    writeBody(delivery.body, file, fileSystem);
    if (delivery.receivedAt) fileSystem.setModified(file, delivery.receivedAt.getTime());
    return file;
  } catch (cause) {
    if (file !== undefined) closeQuietly(file, fileSystem);
    failUnwritten({ delivery, mailbox }, tools, path, cause);
    return undefined;
  }
}

/** Flushes and closes the file; resolves with the error if there was one. */
async function syncFailure(
  { delivery }: Draft,
  file: Descriptor,
  { fileSystem }: DeliverTools,
): Promise<unknown> {
  try {
    // fdatasync(2) may leave out the modification time, which matters only where we set it.
    await (delivery.receivedAt ? fileSystem.sync(file) : fileSystem.syncData(file));
  } catch (cause) {
    closeQuietly(file, fileSystem);
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
    failUnwritten(draft, tools, draft.delivery.draft ?? draft.mailbox.tmp, cause);
  }
}

function failUnwritten(
  { delivery, mailbox }: Draft,
  tools: DeliverTools,
  path: string,
  cause: unknown,
): void {
  if (errnoOf(cause) === "ENOENT") tools.known.forget(mailbox);
  if (cause instanceof MaildirError) fail(delivery, cause.code, cause.message, cause);
  else fail(delivery, "ERR_MAILDIR_WRITE_FAILED", `${path} cannot be written`, { path, cause });
  removeDraft(delivery, tools.fileSystem);
}

function failUnsynced({ delivery, mailbox }: Draft, tools: DeliverTools, cause: unknown): void {
  const path = delivery.draft ?? mailbox.tmp;
  const text = `${path} could not be flushed, at the second try; the message was removed`;
  fail(delivery, "ERR_MAILDIR_SYNC_FAILED", text, { path, cause });
  removeDraft(delivery, tools.fileSystem);
}

/**
 * Removes the file in `tmp/`, as far as the disk allows; a later cleaning of `tmp/` finds the
 * rest.
 */
export function removeDraft(delivery: PendingDelivery, fileSystem: FileSystem): void {
  if (delivery.draft === undefined) return;
  try {
    fileSystem.unlink(delivery.draft);
  } catch {
    // The rest of a file in tmp/ is harmless; writes and flushes report an error of the disk.
  }
  delivery.draft = undefined;
}

function closeQuietly(file: Descriptor, fileSystem: FileSystem): void {
  try {
    fileSystem.close(file);
  } catch {
    // The first error is the one to report.
  }
}
