/**
 * The disk thread: takes whole batches, commits them with `deliverAll`, answers per message.
 *
 * Calls that touch only the page cache are synchronous here and block nobody else. Flushes are
 * awaited, so the files of the next batch are written while the last one syncs.
 */
import { parentPort, workerData } from "node:worker_threads";
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  type Delivery,
  type DeliveryResult,
  deliverAll,
} from "../maildir/index.ts";
import { nodeFileSystem, systemClock } from "../system/index.ts";
import { BulkSync, syncPlan } from "./bulk-sync.ts";
import {
  packResults,
  type ThreadAnswer,
  type ThreadOptions,
  type ThreadRequest,
  unpackBatch,
} from "./wire.ts";

const port = parentPort;
if (port === null) throw new Error("the disk thread runs as a worker thread only");

const { mailRoot } = workerData as ThreadOptions;
const bulkSync = new BulkSync();
const syncEach: DeliverTools = {
  fileSystem: nodeFileSystem,
  clock: systemClock,
  names: createNameSource({ clock: systemClock }),
  known: createKnownMailboxes(),
  ...(mailRoot === undefined ? {} : { root: mailRoot }),
};

port.on("message", (request: ThreadRequest) => {
  if (request.kind === "close") {
    void bulkSync.close().finally(() => port.close());
    return;
  }
  const { batch, bytes, items } = request;
  commit(unpackBatch(bytes, items)).then(
    (results) => say({ kind: "committed", batch, results: packResults(results) }),
    (error: unknown) => say({ kind: "broken", batch, message: String(error) }),
  );
});

say({ kind: "started" });

async function commit(deliveries: readonly Delivery[]): Promise<readonly DeliveryResult[]> {
  const many = syncPlan("data", deliveries.length) === "bulk";
  const maildirs = new Set(deliveries.map(({ maildir }) => maildir));
  const syncFileSystem = many ? await bulkSync.forBatch(maildirs) : undefined;
  const tools = syncFileSystem ? { ...syncEach, syncFileSystem, syncPlan } : syncEach;
  return deliverAll(deliveries, tools);
}

function say(answer: ThreadAnswer): void {
  port?.postMessage(answer);
}
