/**
 * The delivery executor: messages of all sessions gather into batches, a batch is committed with
 * few flushes, and each caller gets the result of its own message.
 *
 * It is one batcher with one key, so a batch may span any number of mailboxes. Messages that arrive
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
   * resolves; the executor keeps no state of its own. `{ journal }`: one flush for a whole batch,
   * in a log in that directory; durable when `deliver` resolves, visible within `publishWithinMs`,
   * and recovered when the executor is opened again. @defaultValue "synced"
   */
  readonly commit?: "synced" | JournalCommit | undefined;
  /**
   * Directory that holds all mailboxes. Directories created on the way to a mailbox are synced up
   * to it, and no symbolic link below it is followed. @defaultValue none: each path stands for
   * itself
   */
  readonly mailRoot?: string | undefined;
  /** Called for every finished batch, and when the disk thread dies. Must not throw. */
  readonly onEvent?: ((event: DeliveryEvent) => void) | undefined;
  /** Time for waits and durations. @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
  /** Commits the batches instead of a disk thread; for tests. @defaultValue a disk thread */
  readonly committer?: Committer | undefined;
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
  /** What recovery did: when the executor was opened, and when a missing volume came back. */
  | { readonly kind: "recovered"; readonly report: RecoveryReport }
  /** These could not be published; they are in the Maildir `orphans`, durably. */
  | Extract<CommitterEvent, { readonly kind: "orphaned" }>
  /** A volume takes no mail for now; without a `reason` it takes mail again. */
  | Extract<CommitterEvent, { readonly kind: "publishing" }>
  /** The journal takes no mail because its disk refused two writes; or it takes mail again. */
  | Extract<CommitterEvent, { readonly kind: "accepting" }>
  /** Messages in flight are in doubt: a server must end without answering for them. */
  | { readonly kind: "disk-thread-died"; readonly cause: unknown };

export interface DeliverRequest {
  /**
   * Ends the wait for admission. Once the message is in a batch, the batch's outcome is returned.
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
  /** Messages in the batch of this one. */
  readonly batchSize: number;
  /** Milliseconds from the call until the message was durable. */
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
  /** Whether the journal takes new mail; without a journal always true. */
  readonly accepting: boolean;
  /** Messages that are durable and not yet visible. */
  readonly unpublished: number;
  /** How long the oldest of them has been durable, in milliseconds; 0 without one. */
  readonly oldestUnpublishedMs: number;
}

interface Request extends Delivery {
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
   * the mail of an earlier process, and reports that in a `recovered` event.
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
      // The log writes one frame at a time: a second batch would only wait, so it gathers until
      // full.
      minBatchItems: committer.journal ? tuning.maxBatch : 1,
      onFull: "wait",
      clock,
    });
  }

  /**
   * Delivers one message into one Maildir; resolves once the message is durable.
   *
   * @param path The Maildir's root, which is created if it does not exist.
   * @param body The message as it is stored. It is not changed, and must not be changed meanwhile.
   * @returns The exact file name in `new/`.
   * @throws {DeliveryError} ERR_DELIVERY_OPTION for a path or body of another type;
   *   ERR_DELIVERY_FAILED with `errno` and the original error as `cause`; ERR_DELIVERY_CLOSED;
   *   ERR_DELIVERY_TOO_LARGE; ERR_DELIVERY_IN_DOUBT. The signal's own reason when it aborted first.
   */
  async deliver(path: string, body: Body, request: DeliverRequest = {}): Promise<MessageId> {
    return (await this.submit(path, body, request)).id;
  }

  /**
   * Delivers like {@link deliver}; the result also has the size of the batch and the time taken.
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
   *   ERR_DELIVERY_CLOSED when the executor ends first: the message is safe, recovery will publish
   *   it.
   */
  async published(id: MessageId): Promise<void> {
    await this.#committer.journal?.published(id);
  }

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
   * Refuses new work, commits accepted messages, publishes what it can, and ends the disk thread.
   * Idempotent.
   *
   * @param options.timeoutMs After so many milliseconds queued messages are refused, and this
   *   rejects. A batch that the disk thread holds goes on, and its callers get its outcome.
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
