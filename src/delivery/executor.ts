/**
 * The delivery executor: messages from all sessions gather into batches, a batch is committed with
 * few disk flushes, and each caller is told of its own message only.
 *
 * It is one batcher with one key: a batch may span any number of mailboxes, and what arrives while a
 * flush runs becomes the next batch, so nobody waits when the disk is idle and batches grow with the
 * load. When `deliver` resolves, a power cut can no longer lose the message (docs/explanation/durability.md).
 */
import { type Batch, Batcher, BatcherError, fail } from "../batcher/index.ts";
import type { Body, Delivery, DeliveryResult, MessageId } from "../maildir/index.ts";
import { type Clock, errnoOf, systemClock } from "../system/index.ts";
import type { Disk, JournalDiskEvent, RecoveryReport } from "./committer.ts";
import { DeliveryError } from "./errors.ts";
import {
  checkArguments,
  type DeliveryTuning,
  type JournalCommit,
  journalSettings,
  type Tuning,
  tuningOf,
} from "./options.ts";
import { sizeInMemory } from "./thread/protocol.ts";
import { type DiskListener, startDiskThread } from "./thread/start-disk-thread.ts";

export interface DeliveryExecutorOptions extends DeliveryTuning {
  /**
   * How a batch is made durable. `"synced"`: the file is in `new/` and durable when `deliver`
   * resolves; the executor keeps no state of its own. `{ journal }`: one flush for a whole batch, in a
   * log in that directory; durable when `deliver` resolves, visible within `publishWithinMs`, and
   * recovered when the executor is opened again. @defaultValue "synced"
   */
  readonly commit?: "synced" | JournalCommit;
  /**
   * Directory that holds all mailboxes. Directories made on the way to a mailbox are synced up to
   * it, and no symbolic link below it is followed. @defaultValue none: each path stands for itself
   */
  readonly mailRoot?: string;
  /** Told of every finished batch, and of a disk thread that died. Must not throw. */
  readonly onEvent?: (event: DeliveryEvent) => void;
  /** Time for waits and durations. @defaultValue the machine's clock */
  readonly clock?: Clock;
  /** Carries out the batches instead of a disk thread; for tests on a simulated disk. */
  readonly disk?: Disk;
}

export type DeliveryEvent =
  | {
      readonly kind: "flushed";
      readonly messages: number;
      readonly failed: number;
      readonly mailboxes: number;
      readonly bytes: number;
      readonly durationMs: number;
    }
  /** What recovery did: when the executor was opened, and when a missing file system came back. */
  | { readonly kind: "recovered"; readonly report: RecoveryReport }
  /** These could not be published; they are kept, durably, in the Maildir `orphans`. */
  | Extract<JournalDiskEvent, { readonly kind: "orphaned" }>
  /** Mail cannot be published on a file system for now, or can again when `reason` is missing. */
  | Extract<JournalDiskEvent, { readonly kind: "publishing" }>
  /** The journal's disk refused two writes, so that no mail is taken; or it works again. */
  | Extract<JournalDiskEvent, { readonly kind: "accepting" }>
  /** Messages in flight are in doubt: a server must end without answering for them. */
  | { readonly kind: "disk-thread-died"; readonly cause: unknown };

export interface DeliverRequest {
  /** Ends waiting. Once the message is in a batch under way, the outcome is the batch's. */
  readonly signal?: AbortSignal;
  /** IMAP flags as Maildir letters, such as `"S"`; with flags the file goes to `cur/`. */
  readonly flags?: string;
  /** Becomes the file's modification time, which IMAP servers show as the received date. */
  readonly receivedAt?: Date;
}

/** What became of one message, and in what company. */
export interface Receipt {
  /** The file name in `new/` (or, up to `:2,`, in `cur/`). */
  readonly id: MessageId;
  /** Messages in the batch that carried it. */
  readonly batchSize: number;
  /** Milliseconds from the call to durable. */
  readonly durableMs: number;
}

export interface DeliveryStats {
  /** Requests accepted and not yet answered. */
  readonly pending: number;
  readonly pendingBytes: number;
  /** Callers waiting to be accepted because a limit is reached. */
  readonly waiting: number;
  readonly flushesInProgress: number;
  readonly delivered: number;
  readonly failed: number;
  readonly batches: number;
  /** Whether the journal takes new mail; always, without one. */
  readonly accepting: boolean;
  /** Messages durable and not yet visible. */
  readonly unpublished: number;
  /** How long the first of them has been durable, in milliseconds; 0 when there is none. */
  readonly oldestUnpublishedMs: number;
}

interface Request extends Delivery {
  readonly acceptedMs: number;
}

const KEY = "disk";

export class DeliveryExecutor {
  readonly tuning: Tuning;
  readonly #batcher: Batcher<typeof KEY, Request, Receipt>;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #onEvent: (event: DeliveryEvent) => void;
  #delivered = 0;
  #failed = 0;
  #batches = 0;
  #closed: Promise<void> | undefined;

  /**
   * Opens an executor; one per process is enough, and cheap to share among sessions. With a journal it
   * first carries out what an earlier process left, and tells of it in a `recovered` event.
   *
   * @throws {DeliveryError} ERR_DELIVERY_OPTION when an option has an impossible value;
   *   ERR_DELIVERY_JOURNAL when the journal cannot be opened, or another process has it open.
   */
  static async open(options: DeliveryExecutorOptions = {}): Promise<DeliveryExecutor> {
    const tuning = tuningOf(options);
    const journal = journalSettings(options.commit ?? "synced", tuning);
    const onEvent = options.onEvent ?? (() => {});
    const listener: DiskListener = {
      died: (cause) => onEvent({ kind: "disk-thread-died", cause }),
      happened: (event) => {
        if (event.kind !== "published") onEvent(event);
      },
    };
    const disk =
      options.disk ?? (await startDiskThread({ mailRoot: options.mailRoot, journal }, listener));
    if (disk.journal) onEvent({ kind: "recovered", report: disk.journal.recovered });
    return new DeliveryExecutor(tuning, disk, options.clock ?? systemClock, onEvent);
  }

  private constructor(
    tuning: Tuning,
    disk: Disk,
    clock: Clock,
    onEvent: (event: DeliveryEvent) => void,
  ) {
    this.tuning = tuning;
    this.#disk = disk;
    this.#clock = clock;
    this.#onEvent = onEvent;
    this.#batcher = new Batcher({
      name: "delivery",
      process: (batch) => this.#commit(batch),
      maxBatchItems: tuning.maxBatch,
      maxBatchBytes: tuning.maxBatchBytes,
      maxItems: tuning.maxPending,
      maxBytes: tuning.maxPendingBytes,
      sizeOf: ({ body }) => sizeInMemory(body),
      lingerMs: tuning.maxWaitMs,
      keyConcurrency: tuning.maxConcurrentFlushes,
      concurrency: tuning.maxConcurrentFlushes,
      // The log has one write under way: a batch behind it waits anyway, and gathers until it is full.
      minBatchItems: disk.journal ? tuning.maxBatch : 1,
      onFull: "wait",
      clock,
    });
  }

  /**
   * Delivers one message into one Maildir; resolves once it is durable.
   *
   * @param path The Maildir's root, which is created when it does not exist.
   * @param body The message as it shall lie on disk; not changed, and not to be changed meanwhile.
   * @returns The exact file name in `new/`.
   * @throws {DeliveryError} ERR_DELIVERY_OPTION for a path or body of another type. ERR_DELIVERY_FAILED with `errno` and the original error as `cause`;
   *   ERR_DELIVERY_CLOSED; ERR_DELIVERY_TOO_LARGE; ERR_DELIVERY_IN_DOUBT. The signal's own reason
   *   when it aborted first.
   */
  async deliver(path: string, body: Body, request: DeliverRequest = {}): Promise<MessageId> {
    return (await this.submit(path, body, request)).id;
  }

  /** Delivers like {@link deliver} and also tells what company the message had and how long it took. */
  async submit(path: string, body: Body, request: DeliverRequest = {}): Promise<Receipt> {
    const { signal, flags, receivedAt } = request;
    checkArguments(path, body);
    const delivery: Request = {
      maildir: path,
      body,
      acceptedMs: this.#clock.now(),
      ...(flags === undefined ? {} : { flags }),
      ...(receivedAt === undefined ? {} : { receivedAt }),
    };
    try {
      return await this.#batcher.add(KEY, delivery, signal ? { signal } : {});
    } catch (error) {
      throw this.#explain(error, path);
    }
  }

  /**
   * Resolves when a delivered message is visible in its mailbox: at once without a journal, and for an
   * id that is not, or no longer, on its way.
   *
   * @throws {DeliveryError} ERR_DELIVERY_ORPHANED when it was kept in `orphans/` instead;
   *   ERR_DELIVERY_CLOSED when the executor ends first: the message is safe, recovery will publish it.
   */
  async published(id: MessageId): Promise<void> {
    await this.#disk.journal?.published(id);
  }

  stats(): DeliveryStats {
    const { queued, inFlight, bytes, waiting, batchesInFlight } = this.#batcher.stats();
    return {
      pending: queued + inFlight,
      pendingBytes: bytes,
      waiting,
      flushesInProgress: batchesInFlight,
      delivered: this.#delivered,
      failed: this.#failed,
      batches: this.#batches,
      accepting: this.#disk.journal?.accepting ?? true,
      unpublished: this.#disk.journal?.unpublished ?? 0,
      oldestUnpublishedMs: this.#disk.journal?.oldestUnpublishedMs ?? 0,
    };
  }

  /**
   * Refuses new work, commits what was accepted, publishes what it can, and lets the disk thread go. Idempotent.
   *
   * @param options.timeoutMs After so many milliseconds what is still queued is refused, and this
   *   rejects; a batch the disk still holds then goes on and settles when the disk answers.
   */
  close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#drain(options);
    return this.#closed;
  }

  async #drain(options: { readonly timeoutMs?: number }): Promise<void> {
    await this.#batcher.close(options);
    await this.#disk.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #commit(batch: Batch<typeof KEY, Request, void>) {
    const startedMs = this.#clock.now();
    const results = await this.#disk.commit(batch.items);
    const durableAtMs = this.#clock.now();
    const failed = results.filter((result) => !result.ok).length;
    this.#batches += 1;
    this.#failed += failed;
    this.#delivered += results.length - failed;
    this.#onEvent({
      kind: "flushed",
      messages: results.length,
      failed,
      mailboxes: new Set(batch.items.map((item) => item.maildir)).size,
      bytes: batch.bytes,
      durationMs: durableAtMs - startedMs,
    });
    return results.map((result: DeliveryResult, position) => {
      if (!result.ok) return fail(result.error);
      const durableMs = durableAtMs - (batch.items[position]?.acceptedMs ?? startedMs);
      return { id: result.id, batchSize: results.length, durableMs };
    });
  }

  /** Says in this room's words what the batcher or the disk refused. */
  #explain(error: unknown, path: string): unknown {
    if (error instanceof DeliveryError) return error;
    if (!(error instanceof BatcherError)) {
      const errno = errnoOf(error);
      if (errno === undefined && !(error instanceof Error && error.name === "MaildirError")) {
        return error; // The signal's own reason.
      }
      const text = `Cannot deliver into "${path}"${errno ? ` (${errno})` : ""}. Nothing of the message is visible there.`;
      return new DeliveryError("ERR_DELIVERY_FAILED", text, {
        path,
        errno,
        cause: (error as Error).cause ?? error,
      });
    }
    switch (error.code) {
      case "ERR_BATCHER_CLOSED":
        return new DeliveryError(
          "ERR_DELIVERY_CLOSED",
          `The executor is closed; the message for "${path}" was not taken.`,
          { path, cause: error },
        );
      case "ERR_BATCHER_ITEM_TOO_LARGE":
        return new DeliveryError(
          "ERR_DELIVERY_TOO_LARGE",
          `The message for "${path}" exceeds maxPendingBytes (${this.tuning.maxPendingBytes}) by itself; hand it over as a file.`,
          { path, cause: error },
        );
      default:
        return error.cause instanceof DeliveryError
          ? error.cause
          : new DeliveryError("ERR_DELIVERY_FAILED", `Cannot deliver into "${path}".`, {
              path,
              errno: errnoOf(error.cause),
              cause: error.cause ?? error,
            });
    }
  }
}
