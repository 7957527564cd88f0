/**
 * The executor's options: names, defaults and checks, for executor.ts. A value out of range throws
 * ERR_DELIVERY_OPTION with the value received; nothing is clamped. docs/reference/delivery.md tells
 * what each option trades.
 */
import { maxTimerMs, optionChecks } from "../system/index.ts";
import type { JournalSettings } from "./committer.ts";
import { DeliveryError } from "./errors.ts";

/** Default of `maxBatch`. */
export const DEFAULT_MAX_BATCH = 64;
/** Default of `maxWaitMs`: no wait; messages that arrive while a flush runs form the next batch. */
export const DEFAULT_MAX_WAIT_MS = 0;
/** Default of `maxConcurrentFlushes`: a batch is written while the batch before it is flushed. */
export const DEFAULT_MAX_CONCURRENT_FLUSHES = 2;

/** The values of the delivery executor that benchmarks and tests compare this executor with. */
export const referenceTuning = { maxBatch: 64, maxWaitMs: 10, maxConcurrentFlushes: 2 } as const;

export interface DeliveryTuning {
  /** Maximum of messages in one batch. @defaultValue 64 */
  readonly maxBatch?: number | undefined;
  /**
   * How long a batch that is not full waits for more messages, in milliseconds, counted from the
   * arrival of its first message; with 0 it waits only while `maxConcurrentFlushes` are running.
   * @defaultValue 0
   */
  readonly maxWaitMs?: number | undefined;
  /** Maximum of batches committed at the same time. @defaultValue 2 */
  readonly maxConcurrentFlushes?: number | undefined;
  /**
   * Maximum of bytes in memory of one batch; a larger message is a batch of its own.
   * @defaultValue 16 MiB, or `maxPendingBytes` if that is less
   */
  readonly maxBatchBytes?: number | undefined;
  /**
   * Maximum of messages accepted and not yet answered; further `deliver` calls wait in order.
   * @defaultValue 16 × maxBatch
   */
  readonly maxPending?: number | undefined;
  /**
   * Maximum of bytes in memory of messages accepted and not yet answered; further calls wait.
   * @defaultValue 64 MiB
   */
  readonly maxPendingBytes?: number | undefined;
  /**
   * With a journal: longest time from durable to visible under load, in milliseconds, as far as the
   * disk allows. An idle executor publishes a message at once. @defaultValue 250
   */
  readonly publishWithinMs?: number | undefined;
  /**
   * With a journal: maximum of bytes durable and not yet visible, in whole blocks of 4096 for each
   * message. A batch beyond it waits up to 5 s for room; then its messages fail with ENOSPC.
   * @defaultValue 64 MiB
   */
  readonly maxBacklogBytes?: number | undefined;
}

/** The options of {@link DeliveryTuning} with defaults filled in. */
export type Tuning = { readonly [Name in keyof DeliveryTuning]-?: number };

export interface JournalCommit {
  /** Directory of the journal; created if missing. One process at a time may have it open. */
  readonly journal: string;
  /** Bytes of one segment (a file of the journal's log). @defaultValue 32 MiB */
  readonly segmentBytes?: number | undefined;
  /** Maximum of segments; their total size bounds the mail not yet visible. @defaultValue 8 */
  readonly maxSegments?: number | undefined;
}

const MiB = 1024 * 1024;
const { wholeNumber, refusal } = optionChecks(
  (text) => new DeliveryError("ERR_DELIVERY_OPTION", text),
);

/** Fills in defaults and checks. @throws {DeliveryError} ERR_DELIVERY_OPTION */
export function tuningOf(options: DeliveryTuning): Tuning {
  const maxBatch = options.maxBatch ?? DEFAULT_MAX_BATCH;
  const maxPendingBytes = options.maxPendingBytes ?? 64 * MiB;
  const tuning = {
    maxBatch,
    maxWaitMs: options.maxWaitMs ?? DEFAULT_MAX_WAIT_MS,
    maxConcurrentFlushes: options.maxConcurrentFlushes ?? DEFAULT_MAX_CONCURRENT_FLUSHES,
    maxBatchBytes: options.maxBatchBytes ?? Math.min(16 * MiB, maxPendingBytes),
    maxPending: options.maxPending ?? 16 * maxBatch,
    maxPendingBytes,
    publishWithinMs: options.publishWithinMs ?? 250,
    maxBacklogBytes: options.maxBacklogBytes ?? 64 * MiB,
  };
  wholeNumber("maxBatch", tuning.maxBatch, 1);
  wholeNumber("maxWaitMs", tuning.maxWaitMs, 0, maxTimerMs);
  wholeNumber("maxConcurrentFlushes", tuning.maxConcurrentFlushes, 1);
  wholeNumber("maxPending", tuning.maxPending, tuning.maxBatch);
  wholeNumber("maxPendingBytes", tuning.maxPendingBytes, 1);
  wholeNumber("maxBatchBytes", tuning.maxBatchBytes, 1, tuning.maxPendingBytes);
  wholeNumber("publishWithinMs", tuning.publishWithinMs, 0, maxTimerMs);
  wholeNumber("maxBacklogBytes", tuning.maxBacklogBytes, 1);
  return tuning;
}

/** How long a batch waits for room in the backlog before its messages fail, in milliseconds. */
const maxBacklogWaitMs = 5000;

/**
 * The settings of the journal that `commit` names; `undefined` for `"synced"`.
 *
 * @throws {DeliveryError} ERR_DELIVERY_OPTION
 */
export function journalSettings(commit: unknown, tuning: Tuning): JournalSettings | undefined {
  if (commit === "synced") return undefined;
  const { journal, segmentBytes, maxSegments } = (commit ?? {}) as Partial<JournalCommit>;
  if (typeof journal !== "string" || journal === "" || journal.includes("\0")) {
    throw refusal("commit", '"synced" or { journal: directory }', commit);
  }
  return {
    directory: journal,
    publishWithinMs: tuning.publishWithinMs,
    maxBacklogBytes: tuning.maxBacklogBytes,
    maxBacklogWaitMs,
    segmentBytes,
    maxSegments,
  };
}

/**
 * Checks the arguments of `deliver`, for callers without types.
 *
 * @throws {DeliveryError} ERR_DELIVERY_OPTION
 */
export function checkArguments(path: unknown, body: unknown): void {
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    throw refusal("path", "a directory", path);
  }
  const spooled = body as { head?: unknown; file?: unknown; size?: unknown } | null | undefined;
  const isBody =
    body instanceof Uint8Array ||
    (spooled?.head instanceof Uint8Array &&
      typeof spooled.file === "string" &&
      Number.isSafeInteger(spooled.size));
  if (isBody) return;
  const received = body === null ? "null" : typeof body;
  throw new DeliveryError(
    "ERR_DELIVERY_OPTION",
    `body must be a Uint8Array, or { head, file, size } of a spooled message; got ${received}.`,
  );
}
