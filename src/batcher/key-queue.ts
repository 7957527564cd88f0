/**
 * What a batcher remembers: one `Entry` per item, one `KeyQueue` per key in use.
 *
 * These are records with the arithmetic that belongs to them; they decide nothing and call nobody.
 */
import type { LazySignal } from "./batch.ts";
import type { KeyView, Trigger } from "./decide.ts";
import { type Linked, List } from "./list.ts";

/** An item from `add` to its settlement: waiting for room, then queued, then in a batch. */
export class Entry<Key, Item, Output> implements Linked<Entry<Key, Item, Output>> {
  list: List<Entry<Key, Item, Output>> | undefined = undefined;
  previous: Entry<Key, Item, Output> | undefined = undefined;
  next: Entry<Key, Item, Output> | undefined = undefined;

  /** Set when the item is accepted. */
  queue: KeyQueue<Key, Item, Output> | undefined = undefined;
  span: FlushSpan | undefined = undefined;
  /** Set when the item is sealed into a batch. */
  slot: Slot<Key, Item, Output> | undefined = undefined;

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

/** Room for one batch at a time: from acquire to release. */
export interface Slot<Key, Item, Output> {
  readonly queue: KeyQueue<Key, Item, Output>;
  readonly trigger: Trigger;
  readonly openedAt: number;
  readonly signal: LazySignal;
  /** Set, with the entries, when the batch is sealed. */
  batchId: number;
  entries: Entry<Key, Item, Output>[];
  /** Items of the batch whose callers have aborted. */
  abortedItems: number;
}

/** The items of one key that were accepted between two flushes. */
export class FlushSpan {
  outstanding = 0;
  /** A flush has been asked for: nothing is added any more, and what is queued must not be held. */
  closed = false;
  next: FlushSpan | undefined = undefined;
  done: (() => void) | undefined = undefined;
}

export class KeyQueue<Key, Item, Output> implements KeyView, Linked<KeyQueue<Key, Item, Output>> {
  list: List<KeyQueue<Key, Item, Output>> | undefined = undefined;
  previous: KeyQueue<Key, Item, Output> | undefined = undefined;
  next: KeyQueue<Key, Item, Output> | undefined = undefined;

  readonly key: Key;
  readonly entries = new List<Entry<Key, Item, Output>>();
  queuedBytes = 0;
  /** Accepted and not settled: queued or in a batch. */
  outstanding = 0;
  slots = 0;
  acquiring = 0;
  /** Why this key is runnable; kept while it is in the ring. */
  trigger: Trigger = "idle";
  gathered = false;
  lingered = false;
  lingerTimer: unknown = undefined;
  pressed = false;

  #oldestSpan = new FlushSpan();
  #newestSpan = this.#oldestSpan;

  constructor(key: Key) {
    this.key = key;
  }

  get queuedItems(): number {
    return this.entries.size;
  }

  get flushing(): boolean {
    return this.entries.first?.span?.closed ?? false;
  }

  get isIdle(): boolean {
    return this.slots === 0 && this.entries.size === 0;
  }

  push(entry: Entry<Key, Item, Output>, maxBatchBytes: number): void {
    entry.queue = this;
    entry.span = this.#newestSpan;
    entry.span.outstanding += 1;
    this.outstanding += 1;
    this.queuedBytes += Math.min(entry.bytes, maxBatchBytes);
    this.entries.push(entry);
  }

  remove(entry: Entry<Key, Item, Output>, maxBatchBytes: number): void {
    this.queuedBytes -= Math.min(entry.bytes, maxBatchBytes);
    this.entries.remove(entry);
  }

  /** Takes the longest prefix within both limits, but one entry at least. */
  takeBatch(maxBatchItems: number, maxBatchBytes: number): Entry<Key, Item, Output>[] {
    const batch: Entry<Key, Item, Output>[] = [];
    let bytes = 0;
    for (let entry = this.entries.first; entry; entry = this.entries.first) {
      bytes += entry.bytes;
      if (batch.length > 0 && (batch.length >= maxBatchItems || bytes > maxBatchBytes)) break;
      this.remove(entry, maxBatchBytes);
      batch.push(entry);
    }
    return batch;
  }

  /** The oldest entry that no acquiring slot will take. */
  firstUncovered(maxBatchItems: number): Entry<Key, Item, Output> | undefined {
    let entry = this.entries.first;
    let covered = Math.min(this.acquiring * maxBatchItems, this.entries.size - 1);
    for (; covered > 0; covered -= 1) entry = entry?.next;
    return entry;
  }

  /** Notes that an entry is settled, and ends the flushes that waited for it. */
  settled(entry: Entry<Key, Item, Output>): void {
    this.outstanding -= 1;
    if (entry.span) entry.span.outstanding -= 1;
    while (this.#oldestSpan.closed && this.#oldestSpan.outstanding === 0) {
      const { done, next } = this.#oldestSpan;
      this.#oldestSpan = next as FlushSpan;
      done?.();
    }
  }

  /** Calls `done` once everything accepted so far is settled; until then none of it is held back. */
  flush(done: () => void): void {
    if (this.outstanding === 0) {
      done();
      return;
    }
    const span = this.#newestSpan;
    span.done = done;
    span.closed = true;
    this.#newestSpan = new FlushSpan();
    span.next = this.#newestSpan;
  }
}
