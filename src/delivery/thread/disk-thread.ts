/**
 * The disk thread: takes whole batches, commits them in the mailboxes or through the journal, answers
 * per message.
 *
 * Calls that touch only the page cache are synchronous here and block nobody else. Flushes are
 * awaited, so the files of the next batch are written while the last one syncs.
 */
import { parentPort, workerData } from "node:worker_threads";
import { JournalError } from "../../journal/index.ts";
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  type Delivery,
  type DeliveryResult,
  deliverAll,
} from "../../maildir/index.ts";
import { nodeFileSystem, openFileSystemSync, systemClock } from "../../system/index.ts";
import { BulkSync, syncPlan } from "../bulk-sync.ts";
import { JournalDisk } from "../commit/journal-committer.ts";
import type { Disk, JournalSettings, RecoveryReport } from "../committer.ts";
import { factsOf } from "../facts.ts";
import type { Porter } from "../publishing/file-worker.ts";
import { remotePorter } from "../publishing/remote-file-worker.ts";
import {
  packResults,
  type ThreadAnswer,
  type ThreadOptions,
  type ThreadRequest,
  unpackBatch,
} from "./protocol.ts";

const port = parentPort;
if (port === null) throw new Error("the disk thread runs as a worker thread only");

const { mailRoot, journal } = workerData as ThreadOptions;
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
    (error: unknown) => giveUp(error, porter),
  );
}

function serve(disk: Disk, recovered?: RecoveryReport): void {
  port?.on("message", (request: ThreadRequest) => {
    if (request.kind === "close") {
      void disk.close().finally(() => port?.close());
      return;
    }
    const { batch, bytes, items } = request;
    disk.commit(unpackBatch(bytes, items)).then(
      (results) => say({ kind: "committed", batch, results: packResults(results) }),
      (error: unknown) => say({ kind: "broken", batch, message: String(error) }),
    );
  });
  say({ kind: "started", recovered });
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
    onEvent: (event) => say({ kind: "event", event }),
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
      say({ kind: "event", event: { kind: "accepting", accepting } });
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

function giveUp(error: unknown, porter: Porter): void {
  void porter.close();
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof JournalError ? error.code : undefined;
  const cause = factsOf(error instanceof Error ? error.cause : error);
  say({ kind: "failed", message, code, cause });
  port?.close();
}

function say(answer: ThreadAnswer): void {
  port?.postMessage(answer);
}
