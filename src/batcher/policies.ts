/**
 * The four classic batching policies, as plain option objects to spread into the options.
 *
 * A batcher has one policy with parameters; these are the parameter sets that have a name. Without
 * any it batches naturally: an idle key starts at once, a busy key gathers.
 */
import type { BatcherOptions } from "./options.ts";

/** The options a policy sets. */
export type PolicyOptions = Pick<
  BatcherOptions<unknown, unknown, unknown>,
  | "keyConcurrency"
  | "maxBatchItems"
  | "maxItemsPerKey"
  | "minBatchItems"
  | "lingerMs"
  | "holdUntilFull"
  | "onFull"
>;

export const policies = {
  /** Starts a batch whenever a slot of the key is free: least delay, smallest batches. */
  immediate({
    keyConcurrency = 10,
  }: {
    readonly keyConcurrency?: number | undefined;
  } = {}): PolicyOptions {
    return { keyConcurrency };
  },

  /**
   * Starts a batch when `items` are queued. A partial batch waits for `lingerMs` (off if left out),
   * for `flush`, for `close`, or until the batcher has no room for another item.
   */
  size(
    items: number,
    { lingerMs }: { readonly lingerMs?: number | undefined } = {},
  ): PolicyOptions {
    return { maxBatchItems: items, holdUntilFull: true, lingerMs: lingerMs ?? 0 };
  },

  /**
   * Starts a batch `ms` milliseconds after its first item, or when it is full. With `"reject"` a
   * key takes one batch of `maxBatchItems` (100) at a time: further items are refused until that
   * batch is settled. With `"process"` they gather for the next batch.
   */
  duration(
    ms: number,
    { onFull = "process", maxBatchItems = 100 }: DurationOptions = {},
  ): PolicyOptions {
    const options = { lingerMs: ms, maxBatchItems };
    return onFull === "process"
      ? options
      : { ...options, maxItemsPerKey: maxBatchItems, onFull: "reject" };
  },

  /** Starts at once on an idle key, and an additional batch only for `minItems` or more. */
  balanced(
    minItems: number,
    { keyConcurrency = 10 }: { readonly keyConcurrency?: number | undefined } = {},
  ): PolicyOptions {
    return { minBatchItems: minItems, keyConcurrency };
  },
};

export interface DurationOptions {
  readonly onFull?: "process" | "reject" | undefined;
  readonly maxBatchItems?: number | undefined;
}
