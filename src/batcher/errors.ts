/**
 * What can go wrong in a batcher: one class, told apart by `code`.
 *
 * The message says what happened and what it means for the item; the error underneath is always in
 * `cause` and never pasted into the text, so that logging both does not say it twice.
 */

/**
 * - `ERR_BATCHER_FULL`: refused, a limit on outstanding items or bytes is reached (`scope`, `limit`).
 * - `ERR_BATCHER_ITEM_TOO_LARGE`: refused, the item alone is larger than `maxBytes` (`limit`).
 * - `ERR_BATCHER_CLOSED`: refused or dropped before it was sealed, because of `close()`.
 * - `ERR_BATCHER_BATCH_FAILED`: `process` threw or rejected (`key`, `batchId`, `cause`).
 * - `ERR_BATCHER_ACQUIRE_FAILED`: `acquire` threw or rejected; the item was never processed.
 * - `ERR_BATCHER_OUTPUT_COUNT`: `process` did not return one output per item (`expected`, `actual`).
 * - `ERR_BATCHER_DRAIN_TIMEOUT`: `close({ timeoutMs })` ran out of time (`queued`, `inFlight`).
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

/** The facts an error may carry; which of them are set depends on its code. */
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

/** Every error of the batcher itself. Aborts reject with the reason of the signal, `fail` with its own. */
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
  /** How many came, or `undefined` if `process` returned no array at all. */
  readonly actual: number | undefined;
  /** How many items were still queued, and now are rejected (`ERR_BATCHER_DRAIN_TIMEOUT`). */
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
