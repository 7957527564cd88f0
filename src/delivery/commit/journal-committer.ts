/**
 * Commits batches through the journal: one write, one flush, for any number of mailboxes.
 *
 * The way of a batch: refuse what can be refused, write one frame, answer. From there the publisher of
 * each mail file system takes the messages into their mailboxes (publisher.ts), and after a crash
 * recovery does (replay.ts). What cannot go this way is committed in its mailbox before it is answered.
 */
import { Journal, JournalError } from "../../journal/index.ts";
import {
  type DeliverTools,
  type Delivery,
  deliverAll,
  type Letter,
  letterOf,
} from "../../maildir/index.ts";
import { type FileSystemSync, invariant } from "../../system/index.ts";
import type {
  CommitResult,
  Disk,
  JournalDiskEvent,
  JournalSettings,
  RecoveryReport,
} from "../committer.ts";
import { localPorter, type Porter } from "../publishing/file-worker.ts";
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

export interface JournalDiskTools extends DeliverTools {
  readonly openFileSystemSync: (directory: string) => Promise<FileSystemSync | undefined>;
  /** Commits what cannot go through the journal. @defaultValue file by file */
  readonly commitSynced?: Disk["commit"];
  /** Carries files into staging and mailboxes. @defaultValue in this thread */
  readonly porter?: Porter;
  readonly onEvent: (event: JournalDiskEvent) => void;
}

const maxInlineBytesInFrame = 1024 * 1024;

export class JournalDisk implements Disk {
  readonly #parts: Parts;
  #turn: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  /**
   * Opens the journal and carries out what it still owes.
   *
   * @throws {JournalError}; {DeliveryError} ERR_DELIVERY_JOURNAL when a frame is not understood.
   */
  static async open(settings: JournalSettings, tools: JournalDiskTools): Promise<JournalDisk> {
    const parts = await openParts(settings, tools);
    try {
      await parts.recoverer.run((report) => tools.onEvent({ kind: "recovered", report }));
      if (parts.isSound) await parts.journal.recovered();
      return new JournalDisk(parts);
    } catch (error) {
      await closeParts(parts);
      throw error;
    }
  }

  private constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** What recovery found and did, up to now. */
  get recovered(): RecoveryReport {
    return this.#parts.recoverer.report;
  }

  /** Whether the journal takes new mail: not after its disk has refused two writes. */
  get accepting(): boolean {
    return this.#parts.journal.accepting;
  }

  /** Messages in the journal that are not published yet. */
  get pending(): number {
    return this.#parts.publishers.pending.messages;
  }

  async commit(deliveries: readonly Delivery[]): Promise<readonly CommitResult[]> {
    const { tools, admission } = this.#parts;
    const messages = deliveries.map((delivery) => letterOf(delivery, tools));
    // One batch after the other, so that the log has them in the order of the calls.
    const admitted = this.#turn.then(() => admit(messages, admission));
    this.#turn = admitted.catch(() => undefined);
    const { logged, synced } = await admitted;
    const [publications] = await Promise.all([
      this.#log(logged),
      this.#commitSynced(
        synced,
        deliveries.filter((_, at) => synced.includes(messages[at]!)),
      ),
    ]);
    const unpublished = new Set(
      publications.filter(({ state }) => state !== "published").map(({ record }) => record.id),
    );
    return messages.map(({ id, failure }) =>
      failure ? { ok: false, error: failure } : { ok: true, id, unpublished: unpublished.has(id) },
    );
  }

  /** Publishes what it can; recovery publishes the rest. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= closeParts(this.#parts);
    return this.#closing;
  }

  /** Writes one frame for all messages; more than one only if it would not fit into a segment. */
  async #log(admitted: readonly Admitted[]): Promise<Publication[]> {
    if (admitted.length === 0) return [];
    const publishers = [...new Set(admitted.map(({ volumePublisher }) => volumePublisher))];
    const volumes = publishers.map(({ volume }) => volume);
    const publications: Publication[] = [];
    try {
      const records = admitted.map(({ record }) => record);
      await this.#parts.log.write(records, volumes, false, (lsn) => {
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
        // After a failed write a crash may bring the frame back: then its large body must be there.
        if (record.large && !isInDoubt(error)) volumePublisher.staging.remove(record.large.name);
      }
    }
    return publications;
  }

  /** Commits messages in their mailboxes, under the names they have. */
  async #commitSynced(messages: readonly Letter[], deliveries: readonly Delivery[]): Promise<void> {
    if (messages.length === 0) return;
    const { tools } = this.#parts;
    const commit = tools.commitSynced ?? ((batch) => deliverAll(batch, tools));
    const named = deliveries.map((delivery, at) => ({ ...delivery, id: messages[at]!.id }));
    const results = await commit(named);
    invariant(results.length === messages.length, "a commit has one result for each message");
    for (const [at, result] of results.entries()) {
      if (!result.ok) messages[at]!.failure = result.error;
    }
  }
}

interface Parts {
  readonly journal: Journal;
  readonly isSound: boolean;
  readonly tools: JournalDiskTools;
  readonly volumes: Volumes;
  readonly publishers: VolumePublishers;
  readonly log: FrameLog;
  readonly recoverer: Recoverer;
  readonly admission: AdmissionTools;
}

async function openParts(settings: JournalSettings, tools: JournalDiskTools): Promise<Parts> {
  const { fileSystem, clock, known, root, onEvent, openFileSystemSync } = tools;
  const porter = tools.porter ?? localPorter(fileSystem, clock);
  const { directory, segmentBytes, maxSegments, publishWithinMs } = settings;
  const { journal, recovery } = await Journal.open({
    ...{ directory, fileSystem, clock },
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
    ...(maxSegments === undefined ? {} : { maxSegments }),
  });
  const volumes = new Volumes({ fileSystem, clock, journal, root });
  const log = new FrameLog(journal, volumes);
  const isSound = recovery.damage.length === 0;
  const publishers: VolumePublishers = new VolumePublishers({
    ...{ fileSystem, clock, known, root, journal, log, isSound, publishWithinMs },
    ...{ openFileSystemSync, porter, marks: recovery.marks },
    onEvent: (volumePublisher, event) => {
      backlog.shrunk();
      onEvent(told(volumePublisher, event));
    },
  });
  const backlog = new Backlog(
    clock,
    { maxBytes: settings.maxBacklogBytes, maxWaitMs: settings.maxBacklogWaitMs },
    () => publishers.pending.bytes,
  );
  const recoverer = new Recoverer(recovery, { fileSystem, clock, root, volumes, publishers });
  const maxInlineBytes = Math.min(
    maxInlineBytesInFrame,
    (segmentBytes ?? Number.POSITIVE_INFINITY) / 4,
  );
  const cache = new MailboxCache(fileSystem, clock);
  const admission = {
    fileSystem,
    known,
    root,
    volumes,
    publishers,
    backlog,
    cache,
    maxInlineBytes,
  };
  return { journal, isSound, tools, volumes, publishers, log, recoverer, admission };
}

async function closeParts({ journal, recoverer, publishers, volumes }: Parts): Promise<void> {
  recoverer.close();
  await publishers.close();
  await journal.close();
  volumes.close();
}

function told({ volume }: VolumePublisher, event: PublisherEvent): JournalDiskEvent {
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

/** What the journal refused, as the errno of a system call: a full log is a full disk to a client. */
function asErrno(error: unknown): unknown {
  if (!(error instanceof JournalError) || error.errno !== undefined) return error;
  const code = error.code === "ERR_JOURNAL_FULL" ? "ENOSPC" : "EIO";
  return Object.assign(new Error(error.message, { cause: error }), { code });
}
