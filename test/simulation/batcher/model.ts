/**
 * A model of the batcher in plain arrays, which are searched from end to end.
 *
 * It is written from the rules in docs/reference/batcher.md and shares no code with the batcher:
 * where the batcher counts, the model searches. It does not model when hops run; `mustStart` and
 * `mayStart` bound it.
 */
export interface ModelOptions {
  readonly maxBatchItems: number;
  readonly maxBatchBytes: number;
  readonly keyConcurrency: number;
  readonly concurrency: number;
  readonly minBatchItems: number;
  readonly lingerMs: number;
  readonly holdUntilFull: boolean;
  readonly maxItems: number;
  readonly maxItemsPerKey: number;
  readonly maxBytes: number;
  readonly onFull: "reject" | "wait";
}

export interface ModelItem {
  readonly id: number;
  readonly key: string;
  readonly bytes: number;
  readonly addedAtMs: number;
  state: "waiting" | "queued" | "sealed" | "settled";
  /** Place in the order of acceptance. */
  accepted: number;
  aborted: boolean;
  /** How the item must settle, once that is certain. */
  expected: string | undefined;
}

export interface ModelKey {
  readonly name: string;
  queue: ModelItem[];
  slots: number;
  acquiring: number;
  /** Items accepted up to this place belong to a flush. */
  flushedTo: number;
  /** An add found no room while this key's items were queued. */
  isRoomNeeded: boolean;
}

export class BatcherModel {
  readonly options: ModelOptions;
  readonly items: ModelItem[] = [];
  readonly keys = new Map<string, ModelKey>();
  waiting: ModelItem[] = [];
  isClosing = false;
  gaveUp = false;
  accepted = 0;
  batches = 0;
  readonly totals = { received: 0, succeeded: 0, failed: 0, rejected: 0, cancelled: 0 };

  constructor(options: ModelOptions) {
    this.options = options;
  }

  key(name: string): ModelKey {
    let key = this.keys.get(name);
    if (!key) {
      key = { name, queue: [], slots: 0, acquiring: 0, flushedTo: 0, isRoomNeeded: false };
      this.keys.set(name, key);
    }
    return key;
  }

  get outstanding(): ModelItem[] {
    return this.items.filter(({ state }) => state === "queued" || state === "sealed");
  }

  get slots(): number {
    return [...this.keys.values()].reduce((sum, { slots }) => sum + slots, 0);
  }

  add(key: string, bytes: number, addedAtMs: number): ModelItem {
    const item: ModelItem = {
      id: this.items.length,
      key,
      bytes,
      addedAtMs,
      state: "waiting",
      accepted: 0,
      aborted: false,
      expected: undefined,
    };
    this.items.push(item);
    this.totals.received += 1;
    if (this.isClosing) this.reject(item, "ERR_BATCHER_CLOSED");
    else if (bytes > this.options.maxBytes) this.reject(item, "ERR_BATCHER_ITEM_TOO_LARGE");
    else if (this.options.onFull === "wait") this.wait(item);
    else if (this.hasRoomFor(item)) this.accept(item);
    else {
      this.press();
      this.reject(item, "ERR_BATCHER_FULL");
    }
    return item;
  }

  wait(item: ModelItem): void {
    this.waiting.push(item);
    this.admit();
    if (this.waiting.length > 0) this.press();
  }

  hasRoomFor({ key, bytes }: ModelItem): boolean {
    const { maxItems, maxItemsPerKey, maxBytes } = this.options;
    const { outstanding } = this;
    const sameKey = outstanding.filter((item) => item.key === key);
    const outstandingBytes = outstanding.reduce((sum, item) => sum + item.bytes, 0);
    return (
      outstanding.length < maxItems &&
      sameKey.length < maxItemsPerKey &&
      outstandingBytes + bytes <= maxBytes
    );
  }

  accept(item: ModelItem): void {
    this.accepted += 1;
    item.accepted = this.accepted;
    item.state = "queued";
    const key = this.key(item.key);
    key.queue.push(item);
    if (this.waiting.length > 0) key.isRoomNeeded = true;
  }

  admit(): void {
    for (let first = this.waiting[0]; first && this.hasRoomFor(first); first = this.waiting[0]) {
      this.waiting.shift();
      this.accept(first);
    }
  }

  press(): void {
    for (const key of this.keys.values()) if (key.queue.length > 0) key.isRoomNeeded = true;
  }

  abort(item: ModelItem): void {
    item.aborted = true;
    if (item.state === "waiting" || item.state === "queued") {
      this.waiting = this.waiting.filter((other) => other !== item);
      const key = this.key(item.key);
      key.queue = key.queue.filter((other) => other !== item);
      this.totals.cancelled += 1;
      this.settle(item, `reason abort ${item.id}`);
      this.admit();
    }
  }

  reject(item: ModelItem, code: string): void {
    this.totals.rejected += 1;
    this.settle(item, `code ${code}`);
  }

  settle(item: ModelItem, expected: string): void {
    item.state = "settled";
    item.expected = expected;
  }

  /** The items of the next batch of a key: the longest prefix within the limits, at least one. */
  nextBatch({ queue }: ModelKey): ModelItem[] {
    const { maxBatchItems, maxBatchBytes } = this.options;
    for (let length = Math.min(queue.length, maxBatchItems); length > 1; length -= 1) {
      const bytes = queue.slice(0, length).reduce((sum, item) => sum + item.bytes, 0);
      if (bytes <= maxBatchBytes) return queue.slice(0, length);
    }
    return queue.slice(0, 1);
  }

  seal(key: ModelKey): ModelItem[] {
    const batch = this.nextBatch(key);
    key.queue = key.queue.slice(batch.length);
    key.isRoomNeeded = this.waiting.length > 0;
    for (const item of batch) item.state = "sealed";
    if (batch.length > 0) this.batches += 1;
    return batch;
  }

  /** Settles a batch and lets waiting adds in. */
  finish(batch: readonly ModelItem[], outcomeOf: (item: ModelItem, index: number) => string): void {
    batch.forEach((item, index) => {
      const outcome = outcomeOf(item, index);
      this.totals[outcome.startsWith("value") ? "succeeded" : "failed"] += 1;
      this.settle(item, outcome);
    });
    this.admit();
  }

  flush(names: readonly string[]): ModelItem[] {
    for (const name of names) this.key(name).flushedTo = this.accepted;
    return this.outstanding.filter(({ key }) => names.includes(key));
  }

  close(): void {
    this.isClosing = true;
    for (const item of this.waiting) this.reject(item, "ERR_BATCHER_CLOSED");
    this.waiting = [];
  }

  giveUp(): void {
    this.gaveUp = true;
    for (const key of this.keys.values()) {
      for (const item of key.queue) this.reject(item, "ERR_BATCHER_CLOSED");
      key.queue = [];
    }
  }

  /** The items that no acquiring slot covers: their number, bytes, and the oldest of them. */
  rest({ queue, acquiring }: ModelKey) {
    const { maxBatchItems, maxBatchBytes } = this.options;
    const coveredBytes = acquiring === 0 ? 0 : acquiring * maxBatchBytes;
    const queuedBytes = queue.reduce((sum, { bytes }) => sum + Math.min(bytes, maxBatchBytes), 0);
    const items = Math.max(queue.length - acquiring * maxBatchItems, 0);
    const bytes = Math.max(queuedBytes - coveredBytes, 0);
    const oldest = queue[Math.min(acquiring * maxBatchItems, queue.length - 1)];
    return { any: items > 0 || bytes > 0, items: Math.max(items, 1), bytes, oldest };
  }

  /** Whether a hop must be pending for a key, if a slot is free. */
  mustStart(key: ModelKey, now: number): boolean {
    const { lingerMs, holdUntilFull, keyConcurrency, minBatchItems } = this.options;
    const { any, items, oldest } = this.rest(key);
    if (!any || key.slots >= keyConcurrency) return false;
    if (this.isFull(key) || this.isClosing) return true;
    if ((key.queue[0]?.accepted ?? 0) <= key.flushedTo) return true;
    if (key.slots > 0 && items < minBatchItems) return false;
    if (this.waiting.length > 0) return true;
    // Of several timers due at this instant, its own may still have to fire.
    if (lingerMs > 0) return now > (oldest?.addedAtMs ?? 0) + lingerMs;
    return !holdUntilFull;
  }

  /** Whether a batch of this key may start now with this trigger. */
  mayStart(key: ModelKey, trigger: string): boolean {
    const { lingerMs, holdUntilFull, keyConcurrency, minBatchItems } = this.options;
    const { any, items } = this.rest(key);
    if (!any || key.slots >= keyConcurrency) return false;
    const held = lingerMs > 0 || holdUntilFull;
    const enough = key.slots === 0 || items >= minBatchItems;
    const reasons: Record<string, boolean> = {
      full: this.isFull(key) || (held && key.isRoomNeeded && enough),
      close: this.isClosing,
      flush: (key.queue[0]?.accepted ?? 0) <= key.flushedTo,
      linger: lingerMs > 0 && enough,
      min: !held && key.slots > 0 && enough,
      finish: !held && key.slots === 0,
      idle: !held && key.slots === 0,
    };
    return reasons[trigger] ?? false;
  }

  isFull(key: ModelKey): boolean {
    const { maxBatchItems, maxBatchBytes } = this.options;
    const { items, bytes } = this.rest(key);
    return items >= maxBatchItems || bytes >= maxBatchBytes;
  }
}
