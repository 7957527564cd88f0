/**
 * The delivery executor: messages of all sessions gather into batches, a batch is committed with
 * few flushes, and each caller gets the result of its own message. The committer is by default a
 * disk thread (thread/start-disk-thread.ts).
 *
 * The executor is one batcher with one key, so a batch may span any mailboxes. Messages that arrive
 * during a flush form the next batch: a message never waits while the disk is idle, and batches
 * grow with the load. Once `deliver` resolves, a power cut does not lose the message
 * (docs/explanation/durability.md).
 */
import { type Batch, Batcher, fail } from "../batcher/index.ts";
import type { Body, Delivery, DeliveryResult, MessageId } from "../maildir/index.ts";
import { type Clock, invariant, systemClock } from "../system/index.ts";
import type { Committer, CommitterEvent, RecoveryReport } from "./committer.ts";
import { toDeliveryError } from "./errors.ts";
import {
  checkArguments,
  type DeliveryTuning,
  type JournalCommit,
  journalSettings,
  type Tuning,
  tuningOf,
} from "./options.ts";
import { sizeInMemory } from "./thread/protocol.ts";
import { type DiskThreadListener, startDiskThread } from "./thread/start-disk-thread.ts";

export interface DeliveryExecutorOptions extends DeliveryTuning {
  /**
   * How a batch is made durable. `"synced"`: the file is in `new/` and durable when `deliver`
   * resolves; the executor has no files of its own. `{ journal }`: one flush for a whole batch, in
   * a log in that directory. A message is durable when `deliver` resolves, and visible within
   * `publishWithinMs`; after a crash the next `open` publishes it. @defaultValue "synced"
   */
  readonly commit?: "synced" | JournalCommit | undefined;
  /**
   * Directory that holds all mailboxes. Directories created on the way to a mailbox are synced up
   * to this one, and no symbolic link below this one is followed. @defaultValue none: mailboxes may
   * lie anywhere, and symbolic links are followed
   */
  readonly mailRoot?: string | undefined;
  /**
   * Called for each {@link DeliveryEvent}: once for every finished batch, before its callers get
   * their results; else when the event happens. Must not throw.
   */
  readonly onEvent?: ((event: DeliveryEvent) => void) | undefined;
  /** Clock of the executor's waits and durations. @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
  /** Commits the batches instead of a disk thread; for tests. @defaultValue a disk thread */
  readonly committer?: Committer | undefined;
}

export type DeliveryEvent =
  /** A batch is committed: `messages` counts all of its messages, `failed` those not stored. */
  | {
      readonly kind: "flushed";
      readonly messages: number;
      readonly failed: number;
      readonly mailboxes: number;
      readonly bytes: number;
      readonly durationMs: number;
    }
  /** What recovery has done so far: once at `open`, and each time a missing volume came back. */
  | { readonly kind: "recovered"; readonly report: RecoveryReport }
  /** These messages could not be published; they are in the Maildir `orphans`, durably. */
  | Extract<CommitterEvent, { readonly kind: "orphaned" }>
  /** A volume takes no new mail; without a `reason` it takes mail again. */
  | Extract<CommitterEvent, { readonly kind: "publishing" }>
  /** The journal takes no new mail after its disk refused a write twice; or it takes mail again. */
  | Extract<CommitterEvent, { readonly kind: "accepting" }>
  /** Messages in a batch may or may not be stored: a server must end without answering for them. */
  | { readonly kind: "disk-thread-died"; readonly cause: unknown };

export interface DeliverRequest {
  /**
   * Ends the wait for a batch: the call rejects, and nothing is stored. Once the message is in a
   * batch, an abort has no effect, and the call returns the batch's outcome.
   */
  readonly signal?: AbortSignal | undefined;
  /** IMAP flags as Maildir letters, such as `"S"`; with flags the file goes to `cur/`. */
  readonly flags?: string | undefined;
  /** Becomes the file's modification time, which IMAP servers show as the received date. */
  readonly receivedAt?: Date | undefined;
}

/** Result of one message. */
export interface Receipt {
  /** The file name in `new/` (or, up to `:2,`, in `cur/`). */
  readonly id: MessageId;
  /** How many messages were in the batch, this message included. */
  readonly batchSize: number;
  /** Milliseconds from the call until the message was durable. */
  readonly durableMs: number;
}

export interface DeliveryStats {
  /** Requests accepted and not yet answered. */
  readonly pending: number;
  readonly pendingBytes: number;
  /** Callers waiting to be accepted because `maxPending` or `maxPendingBytes` is reached. */
  readonly waiting: number;
  readonly flushesInProgress: number;
  readonly delivered: number;
  readonly failed: number;
  readonly batches: number;
  /** Whether the journal takes new mail; without a journal always true. */
  readonly accepting: boolean;
  /** Messages that are durable and not yet visible. */
  readonly unpublished: number;
  /** How long the oldest unpublished message has been durable, in milliseconds; 0 without one. */
  readonly oldestUnpublishedMs: number;
}

interface Request extends Delivery {
  /** When `deliver` was called, by the executor's clock (monotonic). */
  readonly acceptedAtMs: number;
}

const key = "disk";

export class DeliveryExecutor {
  readonly tuning: Tuning;
  readonly #batcher: Batcher<typeof key, Request, Receipt>;
  readonly #committer: Committer;
  readonly #clock: Clock;
  readonly #onEvent: (event: DeliveryEvent) => void;
  #delivered = 0;
  #failed = 0;
  #batches = 0;
  #closed: Promise<void> | undefined;

  /**
   * Opens an executor; one per process is enough for all sessions. With a journal it first recovers
   * the mail of an earlier process, and reports the recovery in a `recovered` event.
   *
   * @throws {DeliveryError} ERR_DELIVERY_OPTION when an option has an impossible value;
   *   ERR_DELIVERY_JOURNAL when the journal cannot be opened, or another process has it open.
   */
  static async open(options: DeliveryExecutorOptions = {}): Promise<DeliveryExecutor> {
    const tuning = tuningOf(options);
    const journal = journalSettings(options.commit ?? "synced", tuning);
    const onEvent = options.onEvent ?? (() => {});
    const listener: DiskThreadListener = {
      onDeath: (cause) => onEvent({ kind: "disk-thread-died", cause }),
      onEvent: (event) => {
        if (event.kind !== "published") onEvent(event);
      },
    };
    const committer =
      options.committer ??
      (await startDiskThread({ mailRoot: options.mailRoot, journal }, listener));
    if (committer.journal) onEvent({ kind: "recovered", report: committer.journal.recovered });
    return new DeliveryExecutor(tuning, committer, options.clock ?? systemClock, onEvent);
  }

  private constructor(
    tuning: Tuning,
    committer: Committer,
    clock: Clock,
    onEvent: (event: DeliveryEvent) => void,
  ) {
    this.tuning = tuning;
    this.#committer = committer;
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
      // The log writes one frame at a time, so a second batch would only wait: it is started
      // meanwhile only when it is full.
      minBatchItems: committer.journal ? tuning.maxBatch : 1,
      onFull: "wait",
      clock,
    });
  }

  /**
   * Delivers one message into one Maildir; resolves once the message is durable.
   *
   * @param path The Maildir's root, which is created if it does not exist.
   * @param body The message as it is stored. The caller must not change it before the call ends.
   * @returns The exact file name in `new/`; with flags, the name in `cur/` up to `:2,`.
   * @throws {DeliveryError} ERR_DELIVERY_OPTION for a path or body of another type;
   *   ERR_DELIVERY_FAILED with `errno` and the original error as `cause`; ERR_DELIVERY_CLOSED;
   *   ERR_DELIVERY_TOO_LARGE; ERR_DELIVERY_IN_DOUBT. The reason of the signal, if it aborts before
   *   the message is in a batch.
   */
  async deliver(path: string, body: Body, request: DeliverRequest = {}): Promise<MessageId> {
    return (await this.submit(path, body, request)).id;
  }

  /**
   * Delivers like {@link deliver}; the result also has the batch's size and the time until durable.
   */
  async submit(path: string, body: Body, request: DeliverRequest = {}): Promise<Receipt> {
    const { signal, flags, receivedAt } = request;
    checkArguments(path, body);
    const delivery: Request = {
      maildir: path,
      body,
      acceptedAtMs: this.#clock.now(),
      flags,
      receivedAt,
    };
    try {
      return await this.#batcher.add(key, delivery, { signal });
    } catch (error) {
      throw toDeliveryError(error, path, this.tuning.maxPendingBytes);
    }
  }

  /**
   * Resolves when a delivered message is visible in its mailbox: at once without a journal, and at
   * once for any id that is not waiting to be published.
   *
   * @throws {DeliveryError} ERR_DELIVERY_ORPHANED when the message went to `orphans/` instead;
   *   ERR_DELIVERY_CLOSED when the executor ends first: the message is durable, and recovery will
   *   publish it.
   */
  async published(id: MessageId): Promise<void> {
    await this.#committer.journal?.published(id);
  }

  /** Counts since `open` and the present state; costs no system call. */
  stats(): DeliveryStats {
    const { queued, inFlight, bytes, waiting, batchesInFlight } = this.#batcher.stats();
    const { journal } = this.#committer;
    return {
      pending: queued + inFlight,
      pendingBytes: bytes,
      waiting,
      flushesInProgress: batchesInFlight,
      delivered: this.#delivered,
      failed: this.#failed,
      batches: this.#batches,
      accepting: journal?.accepting ?? true,
      unpublished: journal?.unpublished ?? 0,
      oldestUnpublishedMs: journal?.oldestUnpublishedMs ?? 0,
    };
  }

  /**
   * Refuses new messages, commits accepted ones, publishes durable messages unless a round fails,
   * and ends the disk thread. Mail still unpublished is published by the next `open`. Idempotent.
   *
   * @param options.timeoutMs After so many milliseconds messages not yet in a batch are refused,
   *   and this promise rejects. A batch in the disk thread goes on, and its callers get its
   *   outcome. Without it `close` waits for all batches.
   */
  close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#drain(options);
    return this.#closed;
  }

  async #drain(options: { readonly timeoutMs?: number }): Promise<void> {
    await this.#batcher.close(options);
    await this.#committer.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #commit(batch: Batch<typeof key, Request, void>) {
    const startedAtMs = this.#clock.now();
    const results = await this.#committer.commit(batch.items);
    invariant(results.length === batch.items.length, "a commit has one result for each message");
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
      durationMs: durableAtMs - startedAtMs,
    });
    return results.map((result: DeliveryResult, position) => {
      if (!result.ok) return fail(result.error);
      const durableMs = durableAtMs - (batch.items[position]?.acceptedAtMs ?? startedAtMs);
      return { id: result.id, batchSize: results.length, durableMs };
    });
  }
}
