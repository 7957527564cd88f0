/**
 * Why an item is not let in: the check of its size, and the errors of the door.
 */
import { BatcherError, type FullScope } from "./errors.ts";
import type { Settings } from "./options.ts";

type Limits<Item> = Pick<
  Settings<unknown, Item, unknown, unknown>,
  "name" | "sizeOf" | "maxBytes" | "maxItems" | "maxItemsPerKey"
>;

/** Returns the size of an item in bytes, or the error for which it is refused. */
export function sizeOf<Item>(item: Item, limits: Limits<Item>): number | BatcherError {
  if (!limits.sizeOf) return 0;
  let bytes: number;
  try {
    bytes = limits.sizeOf(item);
  } catch (cause) {
    const message = `${limits.name}: sizeOf threw, so the item was not accepted`;
    return new BatcherError("ERR_BATCHER_BAD_SIZE", message, { cause });
  }
  if (typeof bytes !== "number" || !(bytes >= 0 && bytes < Number.POSITIVE_INFINITY)) {
    return new BatcherError(
      "ERR_BATCHER_BAD_SIZE",
      `${limits.name}: sizeOf returned ${String(bytes)}, not a finite number of bytes, 0 or more`,
    );
  }
  if (bytes <= limits.maxBytes) return bytes;
  return new BatcherError(
    "ERR_BATCHER_ITEM_TOO_LARGE",
    `${limits.name}: an item of ${bytes} bytes can never fit, maxBytes is ${limits.maxBytes}`,
    { limit: limits.maxBytes },
  );
}

export function fullError(limits: Limits<never>, key: unknown, scope: FullScope): BatcherError {
  const names = { items: "maxItems", key: "maxItemsPerKey", bytes: "maxBytes" } as const;
  const limit = limits[names[scope]];
  return new BatcherError(
    "ERR_BATCHER_FULL",
    `${limits.name} is full: ${names[scope]} is ${limit}; the item was not accepted, try again later`,
    { scope, limit, key },
  );
}

export function closedError(name: string, key: unknown): BatcherError {
  return new BatcherError("ERR_BATCHER_CLOSED", `${name} is closed; the item was not processed`, {
    key,
  });
}
