/**
 * The disk thread: takes whole batches, commits them in the mailboxes or through the journal, answers
 * per message.
 *
 * Calls that touch only the page cache are synchronous here and block nobody else. Flushes are
 * awaited, so the files of the next batch are written while the last one syncs.
 */
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  type Delivery,
  type DeliveryResult,
  deliverAll,
} from "../../maildir/index.ts";
import {
  nodeFileSystem,
  openFileSystemSync,
  systemClock,
  threadServer,
} from "../../system/index.ts";
import { BulkSync, syncPlan } from "../bulk-sync.ts";
import { JournalDisk } from "../commit/journal-committer.ts";
import type { Disk, JournalSettings, RecoveryReport } from "../committer.ts";
import type { Porter } from "../publishing/file-worker.ts";
import { remotePorter } from "../publishing/remote-file-worker.ts";
import { type DiskProtocol, packResults, unpackBatch } from "./protocol.ts";

const thread = threadServer<DiskProtocol>();
const { mailRoot, journal } = thread.options;
const bulkSync = new BulkSync();
const syncEach: DeliverTools = {
  fileSystem: nodeFileSystem,
  clock: systemClock,
  names: createNameSource({ clock: systemClock }),
  known: createKnownMailboxes(),
  ...(mailRoot === undefined ? {} : { root: mailRoot }),
};
const synced: Disk = { commit: commitSynced, close: () => bulkSync.close() };

if (journal === undefined) serve(synced);
else {
  const porter = remotePorter();
  openJournal(journal, porter).then(
    (disk) => serveJournal(disk, porter),
    (error: unknown) => {
      void porter.close();
      thread.notStarted(error);
    },
  );
}

function serve(disk: Disk, recovered?: RecoveryReport): void {
  thread.serve(
    ({ request, answer, fail }) => {
      disk.commit(unpackBatch(request)).then((results) => answer(packResults(results)), fail);
    },
    () => disk.close(),
  );
  thread.started(recovered);
}

async function commitSynced(deliveries: readonly Delivery[]): Promise<readonly DeliveryResult[]> {
  const many = syncPlan("data", deliveries.length) === "bulk";
  const maildirs = new Set(deliveries.map(({ maildir }) => maildir));
  const syncFileSystem = many ? await bulkSync.forBatch(maildirs) : undefined;
  const tools = syncFileSystem ? { ...syncEach, syncFileSystem, syncPlan } : syncEach;
  return deliverAll(deliveries, tools);
}

function openJournal(settings: JournalSettings, porter: Porter): Promise<JournalDisk> {
  return JournalDisk.open(settings, {
    ...syncEach,
    openFileSystemSync,
    porter,
    commitSynced: synced.commit,
    onEvent: (event) => thread.post(event),
  });
}

/** Tells also when the journal stops accepting, and when it accepts again. */
function serveJournal(disk: JournalDisk, porter: Porter): void {
  let accepting = true;
  let watch: NodeJS.Timeout | undefined;
  function look(): void {
    clearTimeout(watch);
    if (disk.accepting !== accepting) {
      accepting = disk.accepting;
      thread.post({ kind: "accepting", accepting });
    }
    if (!accepting) watch = setTimeout(look, 1000);
  }
  const commit: Disk["commit"] = (deliveries) => disk.commit(deliveries).finally(look);
  const close = async () => {
    clearTimeout(watch);
    try {
      await disk.close();
    } finally {
      await Promise.all([synced.close(), porter.close()]);
    }
  };
  serve({ commit, close }, disk.recovered);
}
