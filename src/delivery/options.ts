/**
 * The executor's options: names, defaults and checks. A value out of range is refused with the
 * value received; nothing is clamped. What each option trades: docs/reference/delivery.md.
 */
import { maxTimerMs, optionChecks } from "../system/index.ts";
import type { JournalSettings } from "./committer.ts";
import { DeliveryError } from "./errors.ts";

/** Default of `maxBatch`. */
export const DEFAULT_MAX_BATCH = 64;
/** Default of `maxWaitMs`: no wait, batches form while a flush runs. */
export const DEFAULT_MAX_WAIT_MS = 0;
/** Default of `maxConcurrentFlushes`: one batch is written while the one before it syncs. */
export const DEFAULT_MAX_CONCURRENT_FLUSHES = 2;

/** The values of the delivery executor that this one is compared with. */
export const referenceTuning = { maxBatch: 64, maxWaitMs: 10, maxConcurrentFlushes: 2 } as const;

export interface DeliveryTuning {
  /** Maximum of messages in one batch. @defaultValue 64 */
  readonly maxBatch?: number | undefined;
  /**
   * How long a batch that is not full waits for more messages, in milliseconds, from its first one.
   * @defaultValue 0
   */
  readonly maxWaitMs?: number | undefined;
  /** Maximum of batches committed at the same time. @defaultValue 2 */
  readonly maxConcurrentFlushes?: number | undefined;
  /** Maximum of bytes in one batch; a larger message goes alone. @defaultValue 16 MiB */
  readonly maxBatchBytes?: number | undefined;
  /**
   * Maximum of requests accepted and not answered; more wait in order.
   * @defaultValue 16 × maxBatch
   */
  readonly maxPending?: number | undefined;
  /** Maximum of bytes in memory of requests accepted and not answered. @defaultValue 64 MiB */
  readonly maxPendingBytes?: number | undefined;
  /**
   * With a journal: longest time from durable to visible under load, in milliseconds, as far as the
   * disk allows; no wait when idle. @defaultValue 250
   */
  readonly publishWithinMs?: number | undefined;
  /**
   * With a journal: maximum of bytes durable and not yet visible; more mail waits, and is then
   * refused.
   * @defaultValue 64 MiB
   */
  readonly maxBacklogBytes?: number | undefined;
}

/** The options with their defaults filled in. */
export type Tuning = { readonly [Name in keyof DeliveryTuning]-?: number };

export interface JournalCommit {
  /** Directory of the journal; created if missing. One process at a time. */
  readonly journal: string;
  /** Bytes of one segment of the journal. @defaultValue 32 MiB */
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

/** How long new mail waits for the backlog before it is refused, in milliseconds. */
const maxBacklogWaitMs = 5000;

/** The settings of a journal, if `commit` names one. @throws {DeliveryError} ERR_DELIVERY_OPTION */
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

/** Checks arguments of callers without types. @throws {DeliveryError} ERR_DELIVERY_OPTION */
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
