/**
 * Admission: the size of an item, the limits on outstanding items and bytes, and the line of adds
 * that wait for room.
 *
 * Invariants: outstanding items and bytes never exceed the limits; waiting adds enter in order of
 * arrival, so a small item does not overtake a large one.
 */
import type { Dispatcher } from "./dispatcher.ts";
import { BatcherError, type FullScope } from "./errors.ts";
import type { PendingItem } from "./key-queue.ts";
import { List } from "./list.ts";

interface RoomLimits {
  readonly maxItems: number;
  readonly maxItemsPerKey: number;
  readonly maxBytes: number;
}

interface SizeLimits<Item> {
  readonly name: string;
  readonly sizeOf: ((item: Item) => number) | undefined;
  readonly maxBytes: number;
}

/** Returns the size of an item in bytes, or the error for which it is refused. */
export function sizeOf<Item>(item: Item, limits: SizeLimits<Item>): number | BatcherError {
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

export class Admission<Key, Item, Output> {
  /** Adds for which there is no room yet, in order of arrival. */
  readonly waiting = new List<PendingItem<Key, Item, Output>>();
  /** Items accepted and not settled. */
  items = 0;
  /** Their bytes. */
  bytes = 0;
  readonly #limits: RoomLimits;
  readonly #dispatcher: Dispatcher<Key, Item, Output>;

  constructor(limits: RoomLimits, dispatcher: Dispatcher<Key, Item, Output>) {
    this.#limits = limits;
    this.#dispatcher = dispatcher;
  }

  /** The limit that leaves no room for an item, if there is one. */
  fullScope(key: Key, bytes: number): FullScope | undefined {
    const { maxItems, maxItemsPerKey, maxBytes } = this.#limits;
    if (this.items >= maxItems) return "items";
    if (this.bytes + bytes > maxBytes) return "bytes";
    if (maxItemsPerKey === maxItems) return undefined;
    const outstanding = this.#dispatcher.keys.get(key)?.outstanding ?? 0;
    return outstanding >= maxItemsPerKey ? "key" : undefined;
  }

  /** Queues an item, or appends it to the line if there is no room or others wait already. */
  enter(item: PendingItem<Key, Item, Output>, isFull: boolean): void {
    if (isFull || this.waiting.size > 0) this.#wait(item);
    else this.#accept(item);
  }

  /** Queues the waiting adds for which there is room now. */
  admitWaiting(): void {
    for (let item = this.waiting.first; item; item = this.waiting.first) {
      if (this.fullScope(item.key, item.bytes)) break;
      this.waiting.remove(item);
      this.#dispatcher.isCrowded = this.waiting.size > 0;
      this.#accept(item);
    }
    this.#dispatcher.isCrowded = this.waiting.size > 0;
  }

  /** Returns the room of a settled item. */
  leave(bytes: number): void {
    this.items -= 1;
    this.bytes -= bytes;
    // Sizes may be fractions, and their rounding errors must not add up over the years.
    if (this.items === 0) this.bytes = 0;
  }

  #accept(item: PendingItem<Key, Item, Output>): void {
    this.items += 1;
    this.bytes += item.bytes;
    this.#dispatcher.accept(item);
  }

  #wait(item: PendingItem<Key, Item, Output>): void {
    this.waiting.push(item);
    if (this.#dispatcher.isCrowded) return;
    this.#dispatcher.isCrowded = true;
    this.#dispatcher.startHeld();
  }
}
