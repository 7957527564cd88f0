/**
 * The errors of a batcher: one class, distinguished by `code`.
 *
 * The message says what happened and what it means for the item. The original error is always in
 * `cause` and never repeated in the text, so that a log of both has it once.
 */

/**
 * - `ERR_BATCHER_FULL`: refused, a limit on outstanding items or bytes is reached (`scope`,
 *   `limit`).
 * - `ERR_BATCHER_ITEM_TOO_LARGE`: refused, the item alone is larger than `maxBytes` (`limit`).
 * - `ERR_BATCHER_CLOSED`: refused or dropped before it was sealed, because of `close()`.
 * - `ERR_BATCHER_BATCH_FAILED`: `process` threw or rejected (`key`, `batchId`, `cause`).
 * - `ERR_BATCHER_ACQUIRE_FAILED`: `acquire` threw or rejected; the item was never processed.
 * - `ERR_BATCHER_OUTPUT_COUNT`: `process` did not return one output per item (`expected`,
 *   `actual`).
 * - `ERR_BATCHER_DRAIN_TIMEOUT`: not drained within the time of `close({ timeoutMs })` (`queued`,
 *   `inFlight`).
 * - `ERR_BATCHER_BAD_OPTION`: an option of the constructor, of `close` or of a preset is invalid.
 * - `ERR_BATCHER_BAD_SIZE`: `sizeOf` threw, or returned something other than a finite number ≥ 0.
 */
export type BatcherErrorCode =
  | "ERR_BATCHER_FULL"
  | "ERR_BATCHER_ITEM_TOO_LARGE"
  | "ERR_BATCHER_CLOSED"
  | "ERR_BATCHER_BATCH_FAILED"
  | "ERR_BATCHER_ACQUIRE_FAILED"
  | "ERR_BATCHER_OUTPUT_COUNT"
  | "ERR_BATCHER_DRAIN_TIMEOUT"
  | "ERR_BATCHER_BAD_OPTION"
  | "ERR_BATCHER_BAD_SIZE";

/** Which limit refused an item: `maxItems`, `maxItemsPerKey` or `maxBytes`. */
export type FullScope = "items" | "key" | "bytes";

/** The facts of an error; its code decides which of them are set. */
export interface BatcherErrorFacts {
  readonly cause?: unknown;
  readonly scope?: FullScope;
  readonly limit?: number;
  readonly key?: unknown;
  readonly batchId?: number;
  readonly expected?: number;
  readonly actual?: number | undefined;
  readonly queued?: number;
  readonly inFlight?: number;
}

/**
 * Every error of the batcher itself. Aborts reject with the reason of the signal, `fail` with its
 * own.
 */
export class BatcherError extends Error {
  override readonly name = "BatcherError";
  readonly code: BatcherErrorCode;
  /** The limit that was reached (`ERR_BATCHER_FULL`). */
  readonly scope: FullScope | undefined;
  /** The value of that limit (`ERR_BATCHER_FULL`, `ERR_BATCHER_ITEM_TOO_LARGE`). */
  readonly limit: number | undefined;
  /** The key of the item or batch. */
  readonly key: unknown;
  /** `batch.id` of the failed batch. */
  readonly batchId: number | undefined;
  /** How many outputs were due (`ERR_BATCHER_OUTPUT_COUNT`). */
  readonly expected: number | undefined;
  /** How many `process` returned, or `undefined` if it returned no array. */
  readonly actual: number | undefined;
  /** How many items were still queued and are now rejected (`ERR_BATCHER_DRAIN_TIMEOUT`). */
  readonly queued: number | undefined;
  /** How many items are still being processed (`ERR_BATCHER_DRAIN_TIMEOUT`). */
  readonly inFlight: number | undefined;

  constructor(code: BatcherErrorCode, message: string, facts: BatcherErrorFacts = {}) {
    super(message, "cause" in facts ? { cause: facts.cause } : undefined);
    this.code = code;
    this.scope = facts.scope;
    this.limit = facts.limit;
    this.key = facts.key;
    this.batchId = facts.batchId;
    this.expected = facts.expected;
    this.actual = facts.actual;
    this.queued = facts.queued;
    this.inFlight = facts.inFlight;
  }
}

interface FullLimits {
  readonly name: string;
  readonly maxItems: number;
  readonly maxItemsPerKey: number;
  readonly maxBytes: number;
}

export function fullError(limits: FullLimits, key: unknown, scope: FullScope): BatcherError {
  const names = { items: "maxItems", key: "maxItemsPerKey", bytes: "maxBytes" } as const;
  const limit = limits[names[scope]];
  return new BatcherError(
    "ERR_BATCHER_FULL",
    `${limits.name} is full: ${names[scope]} is ${limit}; the item was not accepted; try again later`,
    { scope, limit, key },
  );
}

export function closedError(name: string, key: unknown): BatcherError {
  return new BatcherError("ERR_BATCHER_CLOSED", `${name} is closed; the item was not processed`, {
    key,
  });
}

export function drainTimeoutError(
  name: string,
  timeoutMs: number,
  queued: number,
  inFlight: number,
): BatcherError {
  return new BatcherError(
    "ERR_BATCHER_DRAIN_TIMEOUT",
    `${name} did not drain within ${timeoutMs} ms; ${queued} queued items are dropped, ` +
      `${inFlight} items in flight still settle`,
    { queued, inFlight },
  );
}

/** Asserts what the batcher's own code guarantees. Here, because this room imports no other. */
export function invariant(condition: unknown, text: string): asserts condition {
  if (!condition) throw new Error(`invariant of the batcher does not hold: ${text}`);
}
