/**
 * Second half of the commit: messages become visible, and their names are flushed.
 *
 * Every directory is opened before anything is renamed, so that an error in writing it back is
 * reported here, whoever else flushes the same directory at the same time. A mailbox whose names
 * cannot be flushed refuses all of its letters, and takes back what is still in place.
 */
import { errnoOf, type FileSystem } from "../system/index.ts";
import type { Mailbox } from "./mailbox.ts";
import { type OpenDirectories, openDirectories } from "./open-directories.ts";
import {
  fail,
  type MailboxBatch,
  notFailed,
  type PendingDelivery,
  targetOf,
} from "./pending-delivery.ts";
import { byDevice, planOf } from "./plan.ts";
import type { DeliverTools } from "./tools.ts";
import { removeDraft } from "./write.ts";

export async function publish(
  bundles: readonly MailboxBatch[],
  tools: DeliverTools,
): Promise<void> {
  const directories = openDirectories(tools.fileSystem);
  try {
    const published = bundles.filter(
      (bundle) => openAll(bundle, directories, tools) && renameAll(bundle, tools),
    );
    await Promise.all(
      byDevice(published).map((ofDevice) => syncNames(ofDevice, directories, tools)),
    );
  } finally {
    directories.close();
  }
}

/** Opens what will be flushed. Answers whether the mailbox still has anything to publish. */
function openAll(bundle: MailboxBatch, directories: OpenDirectories, tools: DeliverTools): boolean {
  const letters = notFailed(bundle.letters);
  if (letters.length === 0) return false;
  try {
    for (const directory of flushedBy(bundle)) directories.open(directory);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") tools.known.forget(bundle.mailbox);
    const { path } = bundle.mailbox;
    for (const letter of letters) {
      fail(letter, "ERR_MAILDIR_DIRECTORY_FAILED", `a directory of ${path} cannot be opened`, {
        path,
        cause,
      });
      removeDraft(letter, tools);
    }
    return false;
  }
}

function renameAll({ mailbox, letters }: MailboxBatch, tools: DeliverTools): boolean {
  for (const letter of notFailed(letters)) {
    const path = targetOf(letter, mailbox);
    try {
      tools.fileSystem.rename(letter.draft!, path);
      letter.draft = undefined;
    } catch (cause) {
      fail(letter, "ERR_MAILDIR_PUBLISH_FAILED", `message cannot be moved to ${path}`, {
        path,
        cause,
      });
      removeDraft(letter, tools);
    }
  }
  return notFailed(letters).length > 0;
}

async function syncNames(
  bundles: readonly MailboxBatch[],
  directories: OpenDirectories,
  tools: DeliverTools,
): Promise<void> {
  const count = new Set(bundles.flatMap(flushedBy)).size;
  const bulk = planOf("names", count, tools) === "bulk";
  if (bulk && (await bulkFlushed(bundles[0]!.mailbox, tools))) {
    for (const { mailbox } of bundles) tools.known.remember(mailbox);
    return;
  }
  await Promise.all(bundles.map((bundle) => syncNamesOf(bundle, directories, tools)));
}

async function bulkFlushed({ path }: Mailbox, { syncFileSystem }: DeliverTools): Promise<boolean> {
  try {
    await syncFileSystem?.(path);
    return true;
  } catch {
    // It does not say whose names were lost; the directories held open know.
    return false;
  }
}

async function syncNamesOf(
  bundle: MailboxBatch,
  directories: OpenDirectories,
  tools: DeliverTools,
): Promise<void> {
  const { mailbox } = bundle;
  try {
    const beforeTmp = flushedBy(bundle).filter((directory) => directory !== mailbox.tmp);
    await directories.flushAll(beforeTmp);
    // btrfs may keep both names of a renamed file until the directory it left is flushed as well.
    await directories.flushAll([mailbox.tmp]);
    tools.known.remember(mailbox);
  } catch (cause) {
    tools.known.forget(mailbox);
    for (const letter of notFailed(bundle.letters)) withdraw(letter, mailbox, cause, tools);
  }
}

/** Takes a message back whose name may not last. A reader may have been faster. */
function withdraw(
  letter: PendingDelivery,
  mailbox: Mailbox,
  cause: unknown,
  tools: DeliverTools,
): void {
  const path = targetOf(letter, mailbox);
  const mayRemain = !unlinked(path, tools.fileSystem);
  const fate = mayRemain ? "and it could not be taken back" : "it was taken back";
  fail(letter, "ERR_MAILDIR_SYNC_FAILED", `the disk did not keep the name ${path}; ${fate}`, {
    path,
    cause,
    mayRemain,
  });
}

function unlinked(path: string, fileSystem: FileSystem): boolean {
  try {
    fileSystem.unlink(path);
    return true;
  } catch {
    return false;
  }
}

/** The directories whose names must last before a bundle is acknowledged; `tmp/` comes last. */
function flushedBy({ mailbox, letters }: MailboxBatch): string[] {
  const targets = notFailed(letters).map(({ subdirectory }) => mailbox[subdirectory]);
  const first = [...targets, ...mailbox.unflushed].filter((path) => path !== mailbox.tmp);
  return [...new Set(first), mailbox.tmp];
}
