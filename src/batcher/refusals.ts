/** The errors of `add` and `close`: the check of an item's size, full, closed, not drained in time. */
import { BatcherError, type FullScope } from "./errors.ts";
import type { Settings } from "./options.ts";

type Limits<Item> = Pick<
  Settings<unknown, Item, unknown, unknown>,
  "name" | "sizeOf" | "maxBytes" | "maxItems" | "maxItemsPerKey"
>;

/** Returns the size of an item in bytes, or the error for which it is refused. */
export function sizeOf<Item>(item: Item, limits: Limits<Item>): number | BatcherError {
  if (!limits.sizeOf) return 0;
  const { name, maxBytes } = limits;
  let bytes: number;
  try {
    bytes = limits.sizeOf(item);
  } catch (cause) {
    const message = `${name}: sizeOf threw; the item was not accepted`;
    return new BatcherError("ERR_BATCHER_BAD_SIZE", message, { cause });
  }
  if (typeof bytes !== "number" || !(bytes >= 0 && bytes < Number.POSITIVE_INFINITY)) {
    return new BatcherError(
      "ERR_BATCHER_BAD_SIZE",
      `${name}: sizeOf returned ${String(bytes)} instead of a finite number from 0 up; ` +
        "the item was not accepted",
    );
  }
  if (bytes <= maxBytes) return bytes;
  return new BatcherError(
    "ERR_BATCHER_ITEM_TOO_LARGE",
    `${name}: an item of ${bytes} bytes exceeds maxBytes (${maxBytes}); it was not accepted`,
    { limit: maxBytes },
  );
}

export function fullError(limits: Limits<never>, key: unknown, scope: FullScope): BatcherError {
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
