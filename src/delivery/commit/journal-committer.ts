/**
 * Commits batches through the journal: one synchronous write (O_DSYNC) for any number of mailboxes.
 *
 * Runs in the disk thread (thread/disk-thread.ts). A batch is checked (admission.ts), written as
 * one frame of the log, and acknowledged. Then the publisher of each volume (file system of
 * mailboxes) moves the messages into their mailboxes (publishing/publisher.ts); after a crash
 * recovery does (recovery/replay.ts). A message for a mailbox that no staging directory can serve
 * is committed in the mailbox itself, without the log, before it is acknowledged.
 */
import { Journal, JournalError } from "../../journal/index.ts";
import {
  type DeliverTools,
  type Delivery,
  deliverAll,
  type PendingDelivery,
  pendingDelivery,
} from "../../maildir/index.ts";
import { type FileSystemSync, invariant } from "../../system/index.ts";
import type {
  CommitResult,
  Committer,
  CommitterEvent,
  JournalSettings,
  RecoveryReport,
} from "../committer.ts";
import { type FileWorker, localFileWorker } from "../publishing/file-worker.ts";
import { FrameLog, isTooLarge } from "../publishing/frame-log.ts";
import { type Publication, publication } from "../publishing/publication.ts";
import type { PublisherEvent } from "../publishing/publisher.ts";
import { type VolumePublisher, VolumePublishers } from "../publishing/volume-publishers.ts";
import { Recoverer } from "../recovery/recovery.ts";
import { orphansIn } from "../volumes/staging-directories.ts";
import { Volumes } from "../volumes/volumes.ts";
import { type AdmissionTools, type Admitted, admit, refuseFor } from "./admission.ts";
import { Backlog } from "./backlog.ts";
import { MailboxCache } from "./mailbox-cache.ts";

export interface JournalCommitterTools extends DeliverTools {
  readonly openFileSystemSync: (directory: string) => Promise<FileSystemSync | undefined>;
  /**
   * Commits messages in mailboxes that no staging directory can serve, without the log.
   * @defaultValue `deliverAll`, which flushes file by file
   */
  readonly commitSynced?: Committer["commit"] | undefined;
  /** Writes files in staging and renames them into mailboxes. @defaultValue in this thread */
  readonly fileWorker?: FileWorker | undefined;
  /** Called for each event when it happens, in this thread. */
  readonly onEvent: (event: CommitterEvent) => void;
}

/** A body of more bytes goes to a file in staging instead of the frame. */
const maxInlineBytes = 1024 * 1024;

export class JournalCommitter implements Committer {
  readonly #opened: Opened;
  #turn: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  /**
   * Opens the journal and recovers its mail, except on volumes that are not available: there
   * recovery is tried again, and reported by a `recovered` event.
   *
   * @throws {JournalError}; {DeliveryError} ERR_DELIVERY_JOURNAL for an unreadable frame.
   */
  static async open(
    settings: JournalSettings,
    tools: JournalCommitterTools,
  ): Promise<JournalCommitter> {
    const opened = await openJournal(settings, tools);
    try {
      await opened.recoverer.run((report) => tools.onEvent({ kind: "recovered", report }));
      if (opened.isSound) await opened.journal.recovered();
      return new JournalCommitter(opened);
    } catch (error) {
      await closeJournal(opened);
      throw error;
    }
  }

  private constructor(opened: Opened) {
    this.#opened = opened;
  }

  /** What recovery has done so far. */
  get recovered(): RecoveryReport {
    return this.#opened.recoverer.report;
  }

  /** Whether the journal takes new mail; false after its disk refused a write twice. */
  get accepting(): boolean {
    return this.#opened.journal.accepting;
  }

  /** Messages in the journal that are not published yet. */
  get pending(): number {
    return this.#opened.publishers.pending.messages;
  }

  async commit(deliveries: readonly Delivery[]): Promise<readonly CommitResult[]> {
    const { tools, admission } = this.#opened;
    const pairs = deliveries.map((delivery) => ({
      delivery,
      message: pendingDelivery(delivery, tools),
    }));
    const messages = pairs.map(({ message }) => message);
    // Batches are admitted one after the other, so that the log has them in the order of the calls.
    const admitted = this.#turn.then(() => admit(messages, admission));
    this.#turn = admitted.catch(() => undefined);
    const { logged, synced } = await admitted;
    const [publications] = await Promise.all([
      this.#log(logged),
      this.#commitSynced(pairs.filter(({ message }) => synced.includes(message))),
    ]);
    const unpublished = new Set(
      publications.filter(({ state }) => state !== "published").map(({ record }) => record.id),
    );
    return messages.map(({ id, failure }) =>
      failure ? { ok: false, error: failure } : { ok: true, id, unpublished: unpublished.has(id) },
    );
  }

  /** Publishes the mail in the log unless a round fails; the next `open` recovers the rest. */
  close(): Promise<void> {
    this.#closing ??= closeJournal(this.#opened);
    return this.#closing;
  }

  /**
   * Writes one frame for all messages, or several if one would not fit into a segment. On return
   * each message is durable in the log, or has a `failure`.
   */
  async #log(admitted: readonly Admitted[]): Promise<Publication[]> {
    if (admitted.length === 0) return [];
    const publishers = [...new Set(admitted.map(({ volumePublisher }) => volumePublisher))];
    const volumes = publishers.map(({ volume }) => volume);
    const publications: Publication[] = [];
    try {
      const records = admitted.map(({ record }) => record);
      await this.#opened.log.write(records, volumes, false, (lsn) => {
        for (const { record, message } of admitted) {
          publications.push(publication(lsn, record, message.maildir));
        }
        for (const { publisher, volume } of publishers) {
          publisher.add(
            publications.filter(({ record }) => record.volume === volume.id),
            lsn,
          );
        }
      });
    } catch (error) {
      if (isTooLarge(error) && admitted.length > 1) {
        const half = Math.ceil(admitted.length / 2);
        const first = await this.#log(admitted.slice(0, half));
        return [...first, ...(await this.#log(admitted.slice(half)))];
      }
      for (const { message, volumePublisher, record } of admitted) {
        refuseFor(asErrno(error), message, "the journal did not take the message");
        // After a failed write a crash may bring the frame back: recovery then needs its body.
        if (record.large && !isInDoubt(error)) volumePublisher.staging.remove(record.large.name);
      }
    }
    return publications;
  }

  /** Commits messages in their mailboxes, under the ids that `commit` drew for them. */
  async #commitSynced(pairs: readonly Pair[]): Promise<void> {
    if (pairs.length === 0) return;
    const { tools } = this.#opened;
    const commit = tools.commitSynced ?? ((batch) => deliverAll(batch, tools));
    const results = await commit(
      pairs.map(({ delivery, message }) => ({ ...delivery, id: message.id })),
    );
    invariant(results.length === pairs.length, "a commit has one result for each message");
    for (const [position, { message }] of pairs.entries()) {
      const result = results[position];
      if (result?.ok === false) message.failure = result.error;
    }
  }
}

/** A delivery as the caller gave it, and the message (with id and `failure`) made of it. */
interface Pair {
  readonly delivery: Delivery;
  readonly message: PendingDelivery;
}

/** An open journal, its volumes and their publishers. */
interface Opened {
  readonly journal: Journal;
  /** Whether the log was read without damage. */
  readonly isSound: boolean;
  readonly tools: JournalCommitterTools;
  readonly volumes: Volumes;
  readonly publishers: VolumePublishers;
  readonly log: FrameLog;
  readonly recoverer: Recoverer;
  readonly admission: AdmissionTools;
}

async function openJournal(
  settings: JournalSettings,
  tools: JournalCommitterTools,
): Promise<Opened> {
  const { fileSystem, clock, known, root, onEvent, openFileSystemSync } = tools;
  const fileWorker = tools.fileWorker ?? localFileWorker(fileSystem, clock);
  const { directory, segmentBytes, maxSegments, publishWithinMs } = settings;
  const { journal, recovery } = await Journal.open({
    directory,
    fileSystem,
    clock,
    segmentBytes,
    maxSegments,
    onAccepting: (accepting) => onEvent({ kind: "accepting", accepting }),
  });
  const volumes = new Volumes({ fileSystem, clock, journal, root });
  const log = new FrameLog(journal, volumes);
  const isSound = recovery.damage.length === 0;
  const publishers: VolumePublishers = new VolumePublishers({
    fileSystem,
    clock,
    known,
    root,
    journal,
    log,
    isSound,
    publishWithinMs,
    openFileSystemSync,
    fileWorker,
    marks: recovery.marks,
    onEvent: (volumePublisher, event) => {
      backlog.shrunk();
      onEvent(eventOf(volumePublisher, event));
    },
  });
  const backlog = new Backlog(
    clock,
    { maxBytes: settings.maxBacklogBytes, maxWaitMs: settings.maxBacklogWaitMs },
    () => publishers.pending.bytes,
  );
  const recoverer = new Recoverer(recovery, { fileSystem, clock, root, volumes, publishers });
  const admission: AdmissionTools = {
    fileSystem,
    known,
    root,
    volumes,
    publishers,
    backlog,
    cache: new MailboxCache(fileSystem, clock),
    maxInlineBytes: Math.min(maxInlineBytes, (segmentBytes ?? Number.POSITIVE_INFINITY) / 4),
  };
  return { journal, isSound, tools, volumes, publishers, log, recoverer, admission };
}

async function closeJournal({ journal, recoverer, publishers, volumes }: Opened): Promise<void> {
  recoverer.close();
  await publishers.close();
  await journal.close();
  volumes.close();
}

function eventOf({ volume }: VolumePublisher, event: PublisherEvent): CommitterEvent {
  switch (event.kind) {
    case "published":
      return { kind: "published", ids: event.publications.map(({ record }) => record.id) };
    case "orphaned":
      return {
        kind: "orphaned",
        ids: event.publications.map(({ record }) => record.id),
        mailboxes: event.publications.map(({ mailbox }) => mailbox),
        orphans: orphansIn(volume.staging),
        reason: String(event.publications[0]?.failure),
      };
    case "failure":
      return {
        kind: "publishing",
        directory: volume.directory,
        reason: event.cause === undefined ? undefined : String(event.cause),
      };
  }
}

function isInDoubt(error: unknown): boolean {
  return error instanceof JournalError && error.code === "ERR_JOURNAL_WRITE_FAILED";
}

/** Gives a journal error an errno: to a client a full journal is a full disk. */
function asErrno(error: unknown): unknown {
  if (!(error instanceof JournalError) || error.errno !== undefined) return error;
  const code = error.code === "ERR_JOURNAL_FULL" ? "ENOSPC" : "EIO";
  return Object.assign(new Error(error.message, { cause: error }), { code });
}
