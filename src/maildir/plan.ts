/** How the flushes of a batch are grouped: by file system, and there each or in bulk. */
import type { MailboxBatch } from "./pending-delivery.ts";
import type { DeliverTools, SyncPlan } from "./tools.ts";

/**
 * From so many files or directories on, one flush of their file system is cheaper than a flush of
 * each: sixty messages to sixty mailboxes would need sixty flushes of data and a hundred and
 * twenty of directories, and one syncfs(2) takes the time of a few. For a single message it is
 * the other way round, because a whole file system has more to write than one file
 * (docs/decisions/).
 */
const minBulk = { data: 8, names: 8 };

export const syncPlan: SyncPlan = (phase, count) => (count >= minBulk[phase] ? "bulk" : "each");

/**
 * The mailbox batches on one file system, and the path of a mailbox there: the flush goes by it.
 */
interface DeviceBatches {
  readonly batches: readonly MailboxBatch[];
  readonly path: string;
}

export function byDevice(batches: readonly MailboxBatch[]): DeviceBatches[] {
  const byNumber = Map.groupBy(batches, ({ mailbox }) => mailbox.device);
  return [...byNumber.values()].flatMap((ofDevice) =>
    ofDevice.slice(0, 1).map(({ mailbox: { path } }) => ({ batches: ofDevice, path })),
  );
}

export function planOf(
  phase: "data" | "names",
  count: number,
  { syncFileSystem, syncPlan }: DeliverTools,
): "each" | "bulk" {
  if (!syncFileSystem) return "each";
  return syncPlan?.(phase, count) ?? "bulk";
}
