/**
 * What a batcher remembers: one `Entry` per item, one `KeyQueue` per key in use, one `Slot` per batch.
 *
 * These are records with the arithmetic that belongs to them; they decide nothing and call nobody.
 */
import type { KeyView, Trigger } from "./decide.ts";
import { type Linked, List } from "./list.ts";

/**
 * An item from `add` to its settlement. Its `list` says where it is: in the line of waiting adds, or
 * in the queue of its key; sealed into a batch it is in neither and has a `slot`.
 */
export class Entry<Key, Item, Output> implements Linked<Entry<Key, Item, Output>> {
  list: List<Entry<Key, Item, Output>> | undefined = undefined;
  previous: Entry<Key, Item, Output> | undefined = undefined;
  next: Entry<Key, Item, Output> | undefined = undefined;
  slot: Slot<Key, Item, Output> | undefined = undefined;
  /** How many flushes of its key had been asked for when it was accepted. */
  generation = 0;

  readonly key: Key;
  readonly item: Item;
  readonly bytes: number;
  readonly context: unknown;
  readonly signal: AbortSignal | undefined;
  readonly addedAt: number;
  readonly resolve: (output: Output) => void;
  readonly reject: (reason: unknown) => void;

  constructor(
    key: Key,
    item: Item,
    bytes: number,
    context: unknown,
    signal: AbortSignal | undefined,
    addedAt: number,
    resolve: (output: Output) => void,
    reject: (reason: unknown) => void,
  ) {
    this.key = key;
    this.item = item;
    this.bytes = bytes;
    this.context = context;
    this.signal = signal;
    this.addedAt = addedAt;
    this.resolve = resolve;
    this.reject = reject;
  }
}

/** A flush that waits: for so many items, and then calls `done`. */
interface PendingFlush {
  outstanding: number;
  readonly done: () => void;
}

/** The queue of one key, and what is in flight for it. */
export class KeyQueue<Key, Item, Output>
  extends List<Entry<Key, Item, Output>>
  implements KeyView, Linked<KeyQueue<Key, Item, Output>>
{
  list: List<KeyQueue<Key, Item, Output>> | undefined = undefined;
  previous: KeyQueue<Key, Item, Output> | undefined = undefined;
  next: KeyQueue<Key, Item, Output> | undefined = undefined;

  readonly key: Key;
  queuedBytes = 0;
  /** Accepted and not settled: queued or in a batch. */
  outstanding = 0;
  slots = 0;
  acquiring = 0;
  /** Why this key is runnable; kept up to date while it is in the ring. */
  trigger: Trigger = "idle";
  gathered = false;
  lingered = false;
  pressed = false;
  lingerTimer: unknown = undefined;
  /** Flushes asked for so far. */
  #generation = 0;
  /** Those that are not over; the last one belongs to the generation before the present one. */
  #flushes: PendingFlush[] | undefined = undefined;

  constructor(key: Key) {
    super();
    this.key = key;
  }

  get queuedItems(): number {
    return this.size;
  }

  get flushing(): boolean {
    return this.first !== undefined && this.first.generation < this.#generation;
  }

  accept(entry: Entry<Key, Item, Output>, maxBatchBytes: number): void {
    entry.generation = this.#generation;
    this.outstanding += 1;
    this.queuedBytes += Math.min(entry.bytes, maxBatchBytes);
    this.push(entry);
  }

  withdraw(entry: Entry<Key, Item, Output>, maxBatchBytes: number): void {
    this.queuedBytes -= Math.min(entry.bytes, maxBatchBytes);
    this.remove(entry);
  }

  /** Takes the longest prefix within both limits, but one entry at least if there is any. */
  takeBatch(maxBatchItems: number, maxBatchBytes: number): Entry<Key, Item, Output>[] {
    const batch = new Array<Entry<Key, Item, Output>>(this.#prefix(maxBatchItems, maxBatchBytes));
    for (let index = 0; index < batch.length; index += 1) {
      const entry = this.first as Entry<Key, Item, Output>;
      this.withdraw(entry, maxBatchBytes);
      batch[index] = entry;
    }
    return batch;
  }

  #prefix(maxBatchItems: number, maxBatchBytes: number): number {
    if (maxBatchBytes === Number.POSITIVE_INFINITY) return Math.min(this.size, maxBatchItems);
    let items = 0;
    let bytes = 0;
    for (let entry = this.first; entry && items < maxBatchItems; entry = entry.next) {
      bytes += entry.bytes;
      if (items > 0 && bytes > maxBatchBytes) break;
      items += 1;
    }
    return items;
  }

  /** The oldest entry that no acquiring slot will take. */
  firstUncovered(maxBatchItems: number): Entry<Key, Item, Output> | undefined {
    let entry = this.first;
    let covered = Math.min(this.acquiring * maxBatchItems, this.size - 1);
    for (; covered > 0; covered -= 1) entry = entry?.next;
    return entry;
  }

  /** Notes that an entry is settled, and ends the flushes that waited for it. */
  settled(entry: Entry<Key, Item, Output>): void {
    this.outstanding -= 1;
    const flushes = this.#flushes;
    if (!flushes || entry.generation === this.#generation) return;
    const oldest = this.#generation - flushes.length;
    const flush = flushes[entry.generation - oldest];
    if (flush) flush.outstanding -= 1;
    while (flushes[0]?.outstanding === 0) flushes.shift()?.done();
    if (flushes.length === 0) this.#flushes = undefined;
  }

  /** Calls `done` once everything accepted so far is settled; until then none of it is held back. */
  flush(done: () => void): void {
    if (this.outstanding === 0) {
      done();
      return;
    }
    this.#flushes ??= [];
    const earlier = this.#flushes.reduce((sum, { outstanding }) => sum + outstanding, 0);
    this.#flushes.push({ outstanding: this.outstanding - earlier, done });
    this.#generation += 1;
  }
}

/** Room for one batch at a time: from acquire to release. */
export class Slot<Key, Item, Output> implements Linked<Slot<Key, Item, Output>> {
  list: List<Slot<Key, Item, Output>> | undefined = undefined;
  previous: Slot<Key, Item, Output> | undefined = undefined;
  next: Slot<Key, Item, Output> | undefined = undefined;

  readonly queue: KeyQueue<Key, Item, Output>;
  readonly trigger: Trigger;
  readonly openedAt: number;
  /** Set, with the entries, when the batch is sealed. */
  batchId = 0;
  entries: readonly Entry<Key, Item, Output>[] = [];
  /** Items of the batch whose callers have aborted. */
  abortedItems = 0;
  #controller: AbortController | undefined = undefined;
  #aborted: { readonly reason: unknown } | undefined = undefined;

  constructor(queue: KeyQueue<Key, Item, Output>, openedAt: number) {
    this.queue = queue;
    this.trigger = queue.trigger;
    this.openedAt = openedAt;
  }

  /** Made on demand: most batches never look at theirs, and a controller costs more than an item. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort(this.#aborted.reason);
    }
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#controller?.abort(reason);
  }
}
