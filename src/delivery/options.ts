/**
 * The executor's knobs: names, defaults, and the check at the door.
 *
 * A value out of range is refused with the value received; nothing is clamped, because a silently
 * changed limit is found only on the day it matters. What each one trades:
 * docs/reference/delivery.md.
 */
import { maxTimerMs, optionChecks } from "../system/index.ts";
import type { JournalSettings } from "./committer.ts";
import { DeliveryError } from "./errors.ts";

/** Most messages in one batch, unless set. */
export const DEFAULT_MAX_BATCH = 64;
/** Longest wait for company, in milliseconds, unless set: none, the running flush is the timer. */
export const DEFAULT_MAX_WAIT_MS = 0;
/** Batches under way at once, unless set: the next one is written while the last one syncs. */
export const DEFAULT_MAX_CONCURRENT_FLUSHES = 2;

/** The values of the delivery executor whose behaviour this one follows. */
export const referenceTuning = { maxBatch: 64, maxWaitMs: 10, maxConcurrentFlushes: 2 } as const;

export interface DeliveryTuning {
  /** Most messages in one batch. @defaultValue 64 */
  readonly maxBatch?: number;
  /**
   * Upper bound on waiting for company, in milliseconds, counted from the first request of a batch.
   * @defaultValue 0
   */
  readonly maxWaitMs?: number;
  /** Batches under way at once. @defaultValue 2 */
  readonly maxConcurrentFlushes?: number;
  /** Most octets in one batch; a larger message goes alone. @defaultValue 16 MiB */
  readonly maxBatchBytes?: number;
  /** Most requests accepted and unanswered; further ones wait in order. @defaultValue 16 × maxBatch */
  readonly maxPending?: number;
  /** Most octets of accepted and unanswered requests held in memory. @defaultValue 64 MiB */
  readonly maxPendingBytes?: number;
  /**
   * With a journal: longest time from durable to visible under load, in milliseconds, as far as the
   * disk allows; at once when idle. @defaultValue 250
   */
  readonly publishWithinMs?: number;
  /**
   * With a journal: most octets durable and not yet visible; more mail waits, and is then refused.
   * @defaultValue 64 MiB
   */
  readonly maxBacklogBytes?: number;
}

export type Tuning = Required<DeliveryTuning>;

export interface JournalCommit {
  /** Directory of the journal; made when missing. One process at a time. */
  readonly journal: string;
  /** Octets of one segment of the journal. @defaultValue 32 MiB */
  readonly segmentBytes?: number;
  /** Most segments: together they bound what can be durable and not yet visible. @defaultValue 8 */
  readonly maxSegments?: number;
}

const MiB = 1024 * 1024;
const { wholeNumber, refusal } = optionChecks(
  (text) => new DeliveryError("ERR_DELIVERY_OPTION", text),
);

/** @throws {DeliveryError} ERR_DELIVERY_OPTION for a value that cannot be meant. */
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

/** @throws {DeliveryError} ERR_DELIVERY_OPTION when it is neither kind of commit. */
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
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
    ...(maxSegments === undefined ? {} : { maxSegments }),
  };
}

/** For callers without types. @throws {DeliveryError} ERR_DELIVERY_OPTION */
export function checkArguments(path: unknown, body: unknown): void {
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    throw refusal("path", "a directory", path);
  }
  const spooled = body as { head?: unknown; file?: unknown; size?: unknown } | null | undefined;
  const usable =
    body instanceof Uint8Array ||
    (spooled?.head instanceof Uint8Array &&
      typeof spooled.file === "string" &&
      Number.isSafeInteger(spooled.size));
  if (usable) return;
  const received = body === null ? "null" : typeof body;
  throw new DeliveryError(
    "ERR_DELIVERY_OPTION",
    `body must be a Uint8Array, or { head, file, size } of a spooled message; got ${received}.`,
  );
}
