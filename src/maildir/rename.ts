/**
 * Second half of the commit: messages become visible, and their names are flushed.
 *
 * Every directory is opened before anything is renamed, so that an error in writing it back is
 * reported here, even if another process flushes the same directory at the same time. If the
 * names of a mailbox cannot be flushed, all its deliveries fail, and those still in place are
 * removed.
 */
import { errnoOf, type FileSystem, invariant } from "../system/index.ts";
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

/**
 * Renames the messages into their mailboxes and flushes the names; sets the failure of the
 * others.
 */
export async function renameDurably(
  batches: readonly MailboxBatch[],
  tools: DeliverTools,
): Promise<void> {
  const directories = openDirectories(tools.fileSystem);
  try {
    const renamed = batches.filter(
      (batch) => openAll(batch, directories, tools) && renameAll(batch, tools),
    );
    await Promise.all(byDevice(renamed).map((ofDevice) => syncNames(ofDevice, directories, tools)));
  } finally {
    directories.close();
  }
}

/** Opens the directories to be flushed. Returns whether the batch still has messages to rename. */
function openAll(batch: MailboxBatch, directories: OpenDirectories, tools: DeliverTools): boolean {
  const deliveries = notFailed(batch.deliveries);
  if (deliveries.length === 0) return false;
  try {
    for (const directory of directoriesOf(batch)) directories.open(directory);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") tools.known.forget(batch.mailbox);
    const { path } = batch.mailbox;
    const text = `a directory of ${path} cannot be opened; the message was removed`;
    for (const delivery of deliveries) {
      fail(delivery, "ERR_MAILDIR_DIRECTORY_FAILED", text, { path, cause });
      removeDraft(delivery, tools.fileSystem);
    }
    return false;
  }
}

function renameAll({ mailbox, deliveries }: MailboxBatch, tools: DeliverTools): boolean {
  for (const delivery of notFailed(deliveries)) {
    const path = targetOf(delivery, mailbox);
    const { draft } = delivery;
    invariant(draft !== undefined, "a delivery that has not failed is in tmp/");
    try {
      tools.fileSystem.rename(draft, path);
      delivery.draft = undefined;
    } catch (cause) {
      const text = `the message cannot be renamed to ${path}; it was removed`;
      fail(delivery, "ERR_MAILDIR_PUBLISH_FAILED", text, { path, cause });
      removeDraft(delivery, tools.fileSystem);
    }
  }
  return notFailed(deliveries).length > 0;
}

async function syncNames(
  { batches, path }: ReturnType<typeof byDevice>[number],
  directories: OpenDirectories,
  tools: DeliverTools,
): Promise<void> {
  const count = new Set(batches.flatMap(directoriesOf)).size;
  const isBulk = planOf("names", count, tools) === "bulk";
  if (isBulk && (await syncedInBulk(path, tools))) {
    for (const { mailbox } of batches) tools.known.remember(mailbox);
    return;
  }
  await Promise.all(batches.map((batch) => syncNamesOf(batch, directories, tools)));
}

async function syncedInBulk(path: string, { syncFileSystem }: DeliverTools): Promise<boolean> {
  try {
    await syncFileSystem?.(path);
    return true;
  } catch {
    // Which names were lost is not known; a flush of each open directory tells.
    return false;
  }
}

async function syncNamesOf(
  batch: MailboxBatch,
  directories: OpenDirectories,
  tools: DeliverTools,
): Promise<void> {
  const { mailbox } = batch;
  try {
    const beforeTmp = directoriesOf(batch).filter((directory) => directory !== mailbox.tmp);
    await directories.syncAll(beforeTmp);
    // btrfs may keep both names of a renamed file until the directory it left is flushed as well.
    await directories.syncAll([mailbox.tmp]);
    tools.known.remember(mailbox);
  } catch (cause) {
    tools.known.forget(mailbox);
    for (const delivery of notFailed(batch.deliveries)) withdraw(delivery, mailbox, cause, tools);
  }
}

/** Removes a message whose name may not be durable; a reader may have moved it before. */
function withdraw(
  delivery: PendingDelivery,
  mailbox: Mailbox,
  cause: unknown,
  tools: DeliverTools,
): void {
  const path = targetOf(delivery, mailbox);
  const mayRemain = !unlinked(path, tools.fileSystem);
  const end = mayRemain ? "the message may remain visible" : "the message was removed";
  const text = `the name ${path} could not be flushed; ${end}`;
  fail(delivery, "ERR_MAILDIR_SYNC_FAILED", text, { path, cause, mayRemain });
}

function unlinked(path: string, fileSystem: FileSystem): boolean {
  try {
    fileSystem.unlink(path);
    return true;
  } catch {
    return false;
  }
}

/** The directories to flush before a batch is acknowledged; `tmp/` comes last. */
function directoriesOf({ mailbox, deliveries }: MailboxBatch): string[] {
  const targets = notFailed(deliveries).map(({ subdirectory }) => mailbox[subdirectory]);
  const first = [...targets, ...mailbox.unflushed].filter((path) => path !== mailbox.tmp);
  return [...new Set(first), mailbox.tmp];
}
