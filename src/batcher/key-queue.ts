/**
 * The state of a batcher: one `PendingItem` per item, one `KeyQueue` per key in use, one `Slot` per
 * batch. These are records with their own arithmetic; they decide nothing and call no user code.
 */
import type { KeyView, Trigger } from "./decide.ts";
import { invariant } from "./errors.ts";
import { type Linked, List } from "./list.ts";

/**
 * An item from `add` to its settlement. Its `list` says where it is: in the line of waiting adds,
 * or in the queue of its key; sealed into a batch it is in neither and has a `slot`.
 */
export class PendingItem<Key, Item, Output> implements Linked<PendingItem<Key, Item, Output>> {
  list: List<PendingItem<Key, Item, Output>> | undefined = undefined;
  previous: PendingItem<Key, Item, Output> | undefined = undefined;
  next: PendingItem<Key, Item, Output> | undefined = undefined;
  slot: Slot<Key, Item, Output> | undefined = undefined;
  /** How many flushes of its key had been requested when it was accepted. */
  generation = 0;

  readonly key: Key;
  readonly value: Item;
  readonly bytes: number;
  readonly context: unknown;
  readonly signal: AbortSignal | undefined;
  readonly addedAtMs: number;
  readonly resolve: (output: Output) => void;
  readonly reject: (reason: unknown) => void;

  /** Takes its fields by position: an object more per item is measurable. */
  constructor(
    key: Key,
    value: Item,
    bytes: number,
    context: unknown,
    signal: AbortSignal | undefined,
    addedAtMs: number,
    resolve: (output: Output) => void,
    reject: (reason: unknown) => void,
  ) {
    this.key = key;
    this.value = value;
    this.bytes = bytes;
    this.context = context;
    this.signal = signal;
    this.addedAtMs = addedAtMs;
    this.resolve = resolve;
    this.reject = reject;
  }
}

/** A flush under way; it calls `done` when no item of it is outstanding. */
interface PendingFlush {
  outstanding: number;
  readonly done: () => void;
}

/** The queue of one key, with the counts of its batches in flight. */
export class KeyQueue<Key, Item, Output>
  extends List<PendingItem<Key, Item, Output>>
  implements KeyView, Linked<KeyQueue<Key, Item, Output>>
{
  list: List<KeyQueue<Key, Item, Output>> | undefined = undefined;
  previous: KeyQueue<Key, Item, Output> | undefined = undefined;
  next: KeyQueue<Key, Item, Output> | undefined = undefined;

  readonly key: Key;
  queuedBytes = 0;
  /** Items accepted and not settled: queued or in a batch. */
  outstanding = 0;
  slots = 0;
  acquiring = 0;
  /** Why this key is runnable; current while the key is in the ring. */
  trigger: Trigger = "idle";
  hasGathered = false;
  hasLingered = false;
  isRoomNeeded = false;
  lingerTimer: unknown = undefined;
  /** Flushes requested so far. */
  #generation = 0;
  /** Flushes under way; the last one belongs to the generation before the current one. */
  #flushes: PendingFlush[] | undefined = undefined;

  constructor(key: Key) {
    super();
    this.key = key;
  }

  get queuedItems(): number {
    return this.size;
  }

  get isFlushing(): boolean {
    return this.first !== undefined && this.first.generation < this.#generation;
  }

  accept(item: PendingItem<Key, Item, Output>, maxBatchBytes: number): void {
    item.generation = this.#generation;
    this.outstanding += 1;
    this.queuedBytes += Math.min(item.bytes, maxBatchBytes);
    this.push(item);
  }

  withdraw(item: PendingItem<Key, Item, Output>, maxBatchBytes: number): void {
    this.queuedBytes -= Math.min(item.bytes, maxBatchBytes);
    this.remove(item);
  }

  /** Takes the longest prefix within both limits, at least one item if there is any. */
  takeBatch(maxBatchItems: number, maxBatchBytes: number): PendingItem<Key, Item, Output>[] {
    const batch = new Array<PendingItem<Key, Item, Output>>(
      this.#prefix(maxBatchItems, maxBatchBytes),
    );
    for (let index = 0; index < batch.length; index += 1) {
      const item = this.first;
      invariant(item, "a prefix is no longer than its queue");
      this.withdraw(item, maxBatchBytes);
      batch[index] = item;
    }
    return batch;
  }

  #prefix(maxBatchItems: number, maxBatchBytes: number): number {
    if (maxBatchBytes === Number.POSITIVE_INFINITY) return Math.min(this.size, maxBatchItems);
    let items = 0;
    let bytes = 0;
    for (let item = this.first; item && items < maxBatchItems; item = item.next) {
      bytes += item.bytes;
      if (items > 0 && bytes > maxBatchBytes) break;
      items += 1;
    }
    return items;
  }

  /** The oldest item that no acquiring slot will take. */
  firstUncovered(maxBatchItems: number): PendingItem<Key, Item, Output> | undefined {
    let item = this.first;
    let covered = Math.min(this.acquiring * maxBatchItems, this.size - 1);
    for (; covered > 0; covered -= 1) item = item?.next;
    return item;
  }

  /** Counts a settled item, and ends the flushes of which it was the last. */
  settled(item: PendingItem<Key, Item, Output>): void {
    this.outstanding -= 1;
    const flushes = this.#flushes;
    if (!flushes || item.generation === this.#generation) return;
    const oldest = this.#generation - flushes.length;
    const flush = flushes[item.generation - oldest];
    if (flush) flush.outstanding -= 1;
    while (flushes[0]?.outstanding === 0) flushes.shift()?.done();
    if (flushes.length === 0) this.#flushes = undefined;
  }

  /** Calls `done` once every item accepted so far is settled; until then none of them is held. */
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

/** The right to one batch in flight: from acquire to release. */
export class Slot<Key, Item, Output> implements Linked<Slot<Key, Item, Output>> {
  list: List<Slot<Key, Item, Output>> | undefined = undefined;
  previous: Slot<Key, Item, Output> | undefined = undefined;
  next: Slot<Key, Item, Output> | undefined = undefined;

  readonly queue: KeyQueue<Key, Item, Output>;
  readonly trigger: Trigger;
  readonly openedAtMs: number;
  /** Set, with the items, when the batch is sealed. */
  batchId = 0;
  items: readonly PendingItem<Key, Item, Output>[] = [];
  /** Items of the batch whose callers have aborted. */
  abortedItems = 0;
  #controller: AbortController | undefined = undefined;
  #aborted: { readonly reason: unknown } | undefined = undefined;

  constructor(queue: KeyQueue<Key, Item, Output>, openedAtMs: number) {
    this.queue = queue;
    this.trigger = queue.trigger;
    this.openedAtMs = openedAtMs;
  }

  /** Made on demand: most batches never read it, and a controller costs more than an item. */
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
