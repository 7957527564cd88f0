/**
 * The keyed batcher: what arrives for a key while its last batch is in flight is its next batch.
 *
 * This file is the face and the accounts: who may come in, what becomes of each item, and the end.
 * Invariants: every accepted item settles exactly once, with its own result; what is outstanding never
 * exceeds the limits. When batches start is the dispatcher's business. Rules in words: docs/reference/batcher.md.
 */
import { Aborts } from "./aborts.ts";
import { isFailure } from "./batch.ts";
import { Dispatcher } from "./dispatcher.ts";
import { BatcherError, type FullScope } from "./errors.ts";
import { Guests } from "./hooks.ts";
import { Entry, KeyQueue, type Slot } from "./key-queue.ts";
import { List } from "./list.ts";
import { type BatcherOptions, delayMs, type Settings, settingsOf } from "./options.ts";
import { closedError, fullError, sizeOf } from "./refusals.ts";
import { type Ledger, runSlot } from "./run-slot.ts";

export interface AddOptions {
  /**
   * Removes the item while it waits for room or is queued. Once it is sealed into a batch, aborting
   * changes nothing for its caller, who gets the true result.
   */
  readonly signal?: AbortSignal | undefined;
}

/** A snapshot of the counters; all are kept up to date, none is computed. */
export interface BatcherStats {
  /** Keys with something queued or in flight. */
  readonly keys: number;
  /** Items accepted and not yet sealed into a batch. */
  readonly queued: number;
  /** Items in a batch and not yet settled. */
  readonly inFlight: number;
  /** Bytes queued and in flight, by `sizeOf`. */
  readonly bytes: number;
  /** Adds waiting for room (`onFull: "wait"`). */
  readonly waiting: number;
  /** Slots in use: batches acquiring, processing or releasing. */
  readonly batchesInFlight: number;
  /** Those of them whose `acquire` is still running. */
  readonly acquiring: number;
  /** Calls of `add`: the sum of the four below and of the items queued, in flight and waiting. */
  readonly received: number;
  readonly succeeded: number;
  /** Items that rejected in or after a batch. */
  readonly failed: number;
  /** Items refused, or dropped by `close`. */
  readonly rejected: number;
  readonly cancelled: number;
  /** Batches sealed. */
  readonly batches: number;
}

export class Batcher<Key, Item, Output, Resource = void> {
  readonly #settings: Settings<Key, Item, Output, Resource>;
  readonly #guests: Guests;
  readonly #dispatcher: Dispatcher<Key, Item, Output>;
  readonly #aborts = new Aborts<Entry<Key, Item, Output>>((entry) => this.#abort(entry));
  /** Adds for which there is no room yet, in order of arrival. */
  readonly #waiting = new List<Entry<Key, Item, Output>>();
  #closed: Promise<void> | undefined;
  #drained: (() => void) | undefined;

  #outstandingItems = 0;
  #outstandingBytes = 0;
  #received = 0;
  #succeeded = 0;
  #failed = 0;
  #rejected = 0;
  #cancelled = 0;

  /**
   * Makes a batcher. It holds no timer and starts nothing before the first `add`.
   *
   * @throws {@link BatcherError} `ERR_BATCHER_BAD_OPTION`, naming the option and the value received.
   */
  constructor(options: BatcherOptions<Key, Item, Output, Resource>) {
    const settings = settingsOf(options);
    const guests = new Guests(settings.name);
    const ledger: Ledger<Key, Item, Output> = {
      acquired: (slot) => this.#dispatcher.acquired(slot),
      succeed: (slot, outputs) => this.#succeed(slot, outputs),
      fail: (slot, errorOf) => this.#fail(slot, errorOf),
      free: (slot) => this.#free(slot),
    };
    this.#settings = settings;
    this.#guests = guests;
    this.#dispatcher = new Dispatcher(settings, guests, (slot) => {
      void runSlot(slot, settings, guests, ledger);
    });
  }

  /**
   * Hands an item in and resolves with its output once its batch is processed.
   *
   * Never throws and never calls `process` itself. Rejects with the signal's reason, with the reason
   * given to `fail`, or with a {@link BatcherError}: `ERR_BATCHER_FULL`, `_ITEM_TOO_LARGE`,
   * `_BAD_SIZE` or `_CLOSED` if the item was never processed, `_ACQUIRE_FAILED` if its resource could
   * not be had, `_BATCH_FAILED` or `_OUTPUT_COUNT` if it was processed and nobody knows the result.
   */
  add(key: Key, item: Item, options?: AddOptions): Promise<Output> {
    this.#received += 1;
    if (this.#dispatcher.closing) return this.#refuse(key, closedError(this.#settings.name, key));
    const signal = options?.signal;
    if (signal?.aborted) {
      this.#cancelled += 1;
      return Promise.reject(signal.reason);
    }
    const bytes = sizeOf(item, this.#settings);
    if (typeof bytes !== "number") return this.#refuse(key, bytes);
    const context = this.#captureContext();
    const full = this.#fullScope(key, bytes);
    if (full && this.#settings.onFull === "reject") {
      this.#dispatcher.press();
      return this.#refuse(key, fullError(this.#settings, key, full));
    }
    return new Promise((resolve, reject) => {
      const now = this.#settings.timed ? this.#settings.clock.now() : 0;
      const entry = new Entry(key, item, bytes, context, signal, now, resolve, reject);
      if (signal) this.#aborts.watch(signal, entry);
      if (full || this.#waiting.size > 0) this.#wait(entry);
      else this.#accept(entry);
    });
  }

  /**
   * Starts what is queued, for one key or for all, without waiting for company. Resolves once every
   * item accepted before this call is settled; never rejects; later items do not extend it, and adds
   * that still wait for room are not part of it.
   */
  flush(...keys: readonly [key?: Key]): Promise<void> {
    const { keys: queues } = this.#dispatcher;
    const chosen = keys.length > 0 ? [queues.get(keys[0] as Key)] : [...queues.values()];
    const flushes = chosen.map(
      (queue) => queue && new Promise<void>((done) => this.#dispatcher.flush(queue, done)),
    );
    return Promise.all(flushes).then(() => undefined);
  }

  /**
   * Refuses new work from this instant, runs everything queued, and resolves when nothing is queued
   * or in flight. Further calls return the same promise.
   *
   * After `timeoutMs` milliseconds what is still queued rejects with `ERR_BATCHER_CLOSED`, every
   * `batch.signal` aborts, and this rejects with `ERR_BATCHER_DRAIN_TIMEOUT`; items in flight still
   * settle with the truth when `process` returns.
   */
  close(options?: { readonly timeoutMs?: number | undefined }): Promise<void> {
    if (this.#closed !== undefined) return this.#closed;
    const timeoutMs = options?.timeoutMs;
    try {
      if (timeoutMs !== undefined) delayMs("timeoutMs", timeoutMs);
    } catch (badOption) {
      return Promise.reject(badOption);
    }
    this.#closed = new Promise((resolve, reject) => {
      const { clock } = this.#settings;
      const timer =
        timeoutMs === undefined
          ? undefined
          : clock.setTimeout(() => reject(this.#giveUp(timeoutMs)), timeoutMs);
      this.#drained = () => {
        if (timer !== undefined) clock.clearTimeout(timer);
        resolve();
      };
    });
    this.#dispatcher.close();
    for (let entry = this.#waiting.first; entry; entry = this.#waiting.first) {
      this.#waiting.remove(entry);
      this.#drop(entry);
    }
    this.#checkDrained();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Returns the counters, in constant time. */
  stats(): BatcherStats {
    const { keys, queuedItems, slots, acquiring, batches } = this.#dispatcher;
    return {
      keys: keys.size,
      queued: queuedItems,
      inFlight: this.#outstandingItems - queuedItems,
      bytes: this.#outstandingBytes,
      waiting: this.#waiting.size,
      batchesInFlight: slots.size,
      acquiring,
      received: this.#received,
      succeeded: this.#succeeded,
      failed: this.#failed,
      rejected: this.#rejected,
      cancelled: this.#cancelled,
      batches,
    };
  }

  #accept(entry: Entry<Key, Item, Output>): void {
    this.#outstandingItems += 1;
    this.#outstandingBytes += entry.bytes;
    this.#dispatcher.accept(entry);
  }

  #wait(entry: Entry<Key, Item, Output>): void {
    this.#waiting.push(entry);
    if (this.#dispatcher.crowded) return;
    this.#dispatcher.crowded = true;
    this.#dispatcher.press();
  }

  /** Lets waiting adds in, strictly in order: a small item does not overtake a large one. */
  #admit(): void {
    for (let entry = this.#waiting.first; entry; entry = this.#waiting.first) {
      if (this.#fullScope(entry.key, entry.bytes)) break;
      this.#waiting.remove(entry);
      this.#dispatcher.crowded = this.#waiting.size > 0;
      this.#accept(entry);
    }
    this.#dispatcher.crowded = this.#waiting.size > 0;
  }

  #succeed(slot: Slot<Key, Item, Output>, outputs: readonly unknown[]): number {
    this.#leave(slot.entries, slot.queue);
    let failed = 0;
    slot.entries.forEach((entry, index) => {
      const output = outputs[index];
      if (isFailure(output)) {
        failed += 1;
        entry.reject(output.reason);
      } else {
        entry.resolve(output as Output);
      }
    });
    this.#failed += failed;
    this.#succeeded += slot.entries.length - failed;
    this.#admit();
    return failed;
  }

  #fail(slot: Slot<Key, Item, Output>, errorOf: () => BatcherError): void {
    this.#leave(slot.entries, slot.queue);
    for (const entry of slot.entries) entry.reject(errorOf());
    this.#failed += slot.entries.length;
    this.#admit();
  }

  #free(slot: Slot<Key, Item, Output>): void {
    this.#dispatcher.free(slot);
    this.#checkDrained();
  }

  #abort(entry: Entry<Key, Item, Output>): void {
    const { slot, list, signal } = entry;
    if (slot) {
      slot.abortedItems += 1;
      if (slot.abortedItems < slot.entries.length) return;
      this.#guests.inOwnContext(() => slot.abort(signal?.reason));
      return;
    }
    this.#cancelled += 1;
    if (list instanceof KeyQueue) this.#withdraw(entry, list);
    else this.#waiting.remove(entry);
    entry.reject(signal?.reason);
    this.#admit();
    this.#checkDrained();
  }

  /** The time for draining is over: what is queued will not run. */
  #giveUp(timeoutMs: number): BatcherError {
    const { queuedItems: queued, keys, slots } = this.#dispatcher;
    const inFlight = this.#outstandingItems - queued;
    const error = new BatcherError(
      "ERR_BATCHER_DRAIN_TIMEOUT",
      `${this.#settings.name} was not drained within ${timeoutMs} ms: ${queued} queued items are ` +
        `dropped and ${inFlight} are still being processed`,
      { queued, inFlight },
    );
    for (const queue of [...keys.values()]) {
      for (let entry = queue.first; entry; entry = queue.first) {
        this.#withdraw(entry, queue);
        this.#drop(entry);
      }
    }
    this.#guests.inOwnContext(() => {
      for (let slot = slots.first; slot; slot = slot.next) slot.abort(error);
    });
    return error;
  }

  #checkDrained(): void {
    if (this.#dispatcher.keys.size > 0) return;
    this.#drained?.();
  }

  /** Takes one queued item out, unprocessed. */
  #withdraw(entry: Entry<Key, Item, Output>, queue: KeyQueue<Key, Item, Output>): void {
    this.#dispatcher.remove(entry, queue);
    this.#leave([entry], queue);
  }

  /** Gives back what items have taken up: room, their place in a flush, their abort listener. */
  #leave(entries: readonly Entry<Key, Item, Output>[], queue: KeyQueue<Key, Item, Output>): void {
    this.#outstandingItems -= entries.length;
    for (const entry of entries) {
      this.#outstandingBytes -= entry.bytes;
      if (entry.signal) this.#aborts.unwatch(entry.signal, entry);
      queue.settled(entry);
    }
    // Sizes may be fractions, and their rounding errors must not add up over the years.
    if (this.#outstandingItems === 0) this.#outstandingBytes = 0;
  }

  /** Rejects an item that `close` does not let run. */
  #drop(entry: Entry<Key, Item, Output>): void {
    if (entry.signal) this.#aborts.unwatch(entry.signal, entry);
    const error = closedError(this.#settings.name, entry.key);
    this.#rejected += 1;
    entry.reject(error);
    this.#guests.call("onReject", this.#settings.hooks.onReject, entry.key, error);
  }

  #refuse(key: Key, error: BatcherError): Promise<never> {
    this.#rejected += 1;
    this.#guests.call("onReject", this.#settings.hooks.onReject, key, error);
    return Promise.reject(error);
  }

  #captureContext(): unknown {
    const { captureContext } = this.#settings;
    if (!captureContext) return undefined;
    try {
      return captureContext();
    } catch (error) {
      this.#guests.warn("captureContext", error);
      return undefined;
    }
  }

  #fullScope(key: Key, bytes: number): FullScope | undefined {
    const { maxItems, maxItemsPerKey, maxBytes } = this.#settings;
    if (this.#outstandingItems >= maxItems) return "items";
    if (this.#outstandingBytes + bytes > maxBytes) return "bytes";
    if (maxItemsPerKey === maxItems) return undefined;
    const outstanding = this.#dispatcher.keys.get(key)?.outstanding ?? 0;
    return outstanding >= maxItemsPerKey ? "key" : undefined;
  }
}
