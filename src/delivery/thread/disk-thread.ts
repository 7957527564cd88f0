/**
 * The disk thread: takes whole batches from start-disk-thread.ts in the event loop's thread,
 * commits them in the mailboxes or through the journal, and answers with one result for each
 * message.
 *
 * Calls that touch only the page cache are synchronous in this thread and block no other. Flushes
 * are awaited, so the files of the next batch are written while the batch before it syncs.
 */
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  type Delivery,
  type DeliveryResult,
  deliverAll,
  syncPlan,
} from "../../maildir/index.ts";
import {
  nodeFileSystem,
  openFileSystemSync,
  SyncByDevice,
  systemClock,
  threadServer,
} from "../../system/index.ts";
import { JournalCommitter } from "../commit/journal-committer.ts";
import type { Committer, JournalSettings, RecoveryReport } from "../committer.ts";
import type { FileWorker } from "../publishing/file-worker.ts";
import { remoteFileWorker } from "../publishing/remote-file-worker.ts";
import { type DiskProtocol, packResults, unpackBatch } from "./protocol.ts";

const thread = threadServer<DiskProtocol>();
const { mailRoot, journal } = thread.options;
const syncs = new SyncByDevice();
const syncEach: DeliverTools = {
  fileSystem: nodeFileSystem,
  clock: systemClock,
  names: createNameSource({ clock: systemClock }),
  known: createKnownMailboxes(),
  root: mailRoot,
};
const synced: Committer = { commit: commitSynced, close: () => syncs.close() };

if (journal === undefined) serve(synced);
else {
  const fileWorker = remoteFileWorker();
  openJournal(journal, fileWorker).then(
    (committer) => serveJournal(committer, fileWorker),
    (error: unknown) => {
      void fileWorker.close();
      thread.notStarted(error);
    },
  );
}

function serve(committer: Committer, recovered?: RecoveryReport): void {
  thread.serve(
    ({ request, answer, fail }) => {
      committer.commit(unpackBatch(request)).then((results) => answer(packResults(results)), fail);
    },
    () => committer.close(),
  );
  thread.started(recovered);
}

async function commitSynced(deliveries: readonly Delivery[]): Promise<readonly DeliveryResult[]> {
  const isBulk = syncPlan("data", deliveries.length) === "bulk";
  const maildirs = new Set(deliveries.map(({ maildir }) => maildir));
  const syncFileSystem = isBulk ? await syncs.forBatch(maildirs) : undefined;
  const tools = syncFileSystem ? { ...syncEach, syncFileSystem, syncPlan } : syncEach;
  return deliverAll(deliveries, tools);
}

function openJournal(settings: JournalSettings, fileWorker: FileWorker): Promise<JournalCommitter> {
  return JournalCommitter.open(settings, {
    ...syncEach,
    openFileSystemSync,
    fileWorker,
    commitSynced: synced.commit,
    onEvent: (event) => thread.post(event),
  });
}

function serveJournal(committer: JournalCommitter, fileWorker: FileWorker): void {
  const close = async () => {
    try {
      await committer.close();
    } finally {
      await Promise.all([synced.close(), fileWorker.close()]);
    }
  };
  serve({ commit: (deliveries) => committer.commit(deliveries), close }, committer.recovered);
}
