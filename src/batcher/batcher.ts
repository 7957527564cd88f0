/**
 * The keyed batcher: items that arrive for a key while its last batch is in flight are its next
 * batch.
 *
 * This file is the public API and the accounting: admission and settlement of each item, and close.
 * Invariant: every accepted item settles exactly once, with its own result. The dispatcher decides
 * when batches start. The rules in words: docs/reference/batcher.md.
 */
import { AbortRegistry } from "./abort-registry.ts";
import { Admission, sizeOf } from "./admission.ts";
import { settleItems } from "./batch.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Drain } from "./drain.ts";
import { type BatcherError, closedError, drainTimeoutError, fullError } from "./errors.ts";
import { UserCallbacks } from "./hooks.ts";
import { KeyQueue, PendingItem, type Slot } from "./key-queue.ts";
import { type BatcherOptions, delayMs, type Settings, settingsOf } from "./options.ts";
import { runSlot, type SlotAccounts } from "./run-slot.ts";

export interface AddOptions {
  /**
   * Removes the item while it waits for room or is queued. Once the item is sealed into a batch, an
   * abort changes nothing for its caller, who gets the true result.
   */
  readonly signal?: AbortSignal | undefined;
}

/** A snapshot of the counters, all of which are kept up to date. */
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
  /** Slots in use whose `acquire` is still running. */
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
  readonly #callbacks: UserCallbacks;
  readonly #dispatcher: Dispatcher<Key, Item, Output>;
  readonly #admission: Admission<Key, Item, Output>;
  readonly #aborts = new AbortRegistry<PendingItem<Key, Item, Output>>((item) => this.#abort(item));
  readonly #counts = { received: 0, succeeded: 0, failed: 0, rejected: 0, cancelled: 0 };
  #drain: Drain | undefined;

  /**
   * Makes a batcher. It has no timer and starts nothing before the first `add`.
   *
   * @throws {@link BatcherError} `ERR_BATCHER_BAD_OPTION`, naming the option and the value
   *   received.
   */
  constructor(options: BatcherOptions<Key, Item, Output, Resource>) {
    const settings = settingsOf(options);
    const callbacks = new UserCallbacks(settings.name);
    const accounts: SlotAccounts<Key, Item, Output> = {
      acquired: (slot) => this.#dispatcher.acquired(slot),
      succeed: (slot, outputs) => this.#succeed(slot, outputs),
      fail: (slot, errorOf) => this.#fail(slot, errorOf),
      free: (slot) => this.#free(slot),
    };
    const tools = { settings, callbacks, accounts };
    this.#settings = settings;
    this.#callbacks = callbacks;
    this.#dispatcher = new Dispatcher(settings, callbacks, (slot) => {
      void runSlot(slot, tools);
    });
    this.#admission = new Admission(settings, this.#dispatcher);
  }

  /**
   * Adds an item and resolves with its output once its batch is processed.
   *
   * Never throws and never calls `process` itself. Rejects with the signal's reason, with the
   * reason given to `fail`, or with a {@link BatcherError}: `ERR_BATCHER_FULL`, `_ITEM_TOO_LARGE`,
   * `_BAD_SIZE` or `_CLOSED` if the item was never processed, `_ACQUIRE_FAILED` if its resource
   * could not be acquired, `_BATCH_FAILED` or `_OUTPUT_COUNT` if it was processed and its result is
   * unknown.
   */
  add(key: Key, item: Item, options?: AddOptions): Promise<Output> {
    this.#counts.received += 1;
    if (this.#dispatcher.isClosing) return this.#refuse(key, closedError(this.#settings.name, key));
    const signal = options?.signal;
    if (signal?.aborted) {
      this.#counts.cancelled += 1;
      return Promise.reject(signal.reason);
    }
    const bytes = sizeOf(item, this.#settings);
    if (typeof bytes !== "number") return this.#refuse(key, bytes);
    const { captureContext } = this.#settings;
    const context = captureContext && this.#callbacks.captureContext(captureContext);
    const full = this.#admission.fullScope(key, bytes);
    if (full && this.#settings.onFull === "reject") {
      this.#dispatcher.startHeld();
      return this.#refuse(key, fullError(this.#settings, key, full));
    }
    return new Promise((resolve, reject) => {
      const now = this.#settings.isTimed ? this.#settings.clock.now() : 0;
      const pending = new PendingItem(key, item, bytes, context, signal, now, resolve, reject);
      if (signal) this.#aborts.watch(signal, pending);
      this.#admission.enter(pending, full !== undefined);
    });
  }

  /**
   * Starts what is queued, for one key or for all, without holding any of it. Resolves once every
   * item accepted before this call is settled; never rejects. Later items do not extend it, and
   * adds that still wait for room are not part of it.
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
   * Refuses new items from this instant, runs everything queued, and resolves when nothing is
   * queued or in flight. Further calls return the same promise.
   *
   * After `timeoutMs` milliseconds the queued items reject with `ERR_BATCHER_CLOSED`, every
   * `batch.signal` aborts, and this rejects with `ERR_BATCHER_DRAIN_TIMEOUT`; items in flight still
   * settle with their true result when `process` returns.
   */
  close(options?: { readonly timeoutMs?: number | undefined }): Promise<void> {
    if (this.#drain) return this.#drain.promise;
    const timeoutMs = options?.timeoutMs;
    try {
      if (timeoutMs !== undefined) delayMs("timeoutMs", timeoutMs);
    } catch (badOption) {
      return Promise.reject(badOption);
    }
    this.#drain = new Drain(this.#settings.clock, timeoutMs, (ms) => this.#giveUp(ms));
    this.#dispatcher.close();
    const { waiting } = this.#admission;
    for (let item = waiting.shift(); item; item = waiting.shift()) this.#drop(item);
    this.#checkDrained();
    return this.#drain.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Returns the counters, in constant time. */
  stats(): BatcherStats {
    const { keys, queuedItems, slots, acquiring, batches } = this.#dispatcher;
    const { items, bytes, waiting } = this.#admission;
    return {
      keys: keys.size,
      queued: queuedItems,
      inFlight: items - queuedItems,
      bytes,
      waiting: waiting.size,
      batchesInFlight: slots.size,
      acquiring,
      ...this.#counts,
      batches,
    };
  }

  #succeed(slot: Slot<Key, Item, Output>, outputs: readonly unknown[]): number {
    this.#leave(slot.items, slot.queue);
    const failed = settleItems(slot.items, outputs);
    this.#counts.failed += failed;
    this.#counts.succeeded += slot.items.length - failed;
    this.#admission.admitWaiting();
    return failed;
  }

  #fail(slot: Slot<Key, Item, Output>, errorOf: () => BatcherError): void {
    this.#leave(slot.items, slot.queue);
    for (const item of slot.items) item.reject(errorOf());
    this.#counts.failed += slot.items.length;
    this.#admission.admitWaiting();
  }

  #free(slot: Slot<Key, Item, Output>): void {
    this.#dispatcher.free(slot);
    this.#checkDrained();
  }

  #abort(item: PendingItem<Key, Item, Output>): void {
    const { slot, list, signal } = item;
    if (slot) {
      slot.abortedItems += 1;
      if (slot.abortedItems < slot.items.length) return;
      this.#callbacks.inOwnContext(() => slot.abort(signal?.reason));
      return;
    }
    this.#counts.cancelled += 1;
    if (list instanceof KeyQueue) this.#withdraw(item, list);
    else this.#admission.waiting.remove(item);
    item.reject(signal?.reason);
    this.#admission.admitWaiting();
    this.#checkDrained();
  }

  /** The time for draining is over: drops the queued items and aborts the batches. */
  #giveUp(timeoutMs: number): BatcherError {
    const { queuedItems, keys, slots } = this.#dispatcher;
    const inFlight = this.#admission.items - queuedItems;
    const error = drainTimeoutError(this.#settings.name, timeoutMs, queuedItems, inFlight);
    for (const queue of [...keys.values()]) {
      for (let item = queue.first; item; item = queue.first) {
        this.#withdraw(item, queue);
        this.#drop(item);
      }
    }
    this.#callbacks.inOwnContext(() => {
      for (let slot = slots.first; slot; slot = slot.next) slot.abort(error);
    });
    return error;
  }

  #checkDrained(): void {
    if (this.#dispatcher.keys.size > 0) return;
    this.#drain?.drained();
  }

  /** Takes one queued item out, unprocessed. */
  #withdraw(item: PendingItem<Key, Item, Output>, queue: KeyQueue<Key, Item, Output>): void {
    this.#dispatcher.remove(item, queue);
    this.#leave([item], queue);
  }

  /** Ends what items take up: room, their place in a flush, their abort listener. */
  #leave(
    items: readonly PendingItem<Key, Item, Output>[],
    queue: KeyQueue<Key, Item, Output>,
  ): void {
    for (const item of items) {
      this.#admission.leave(item.bytes);
      if (item.signal) this.#aborts.unwatch(item.signal, item);
      queue.settled(item);
    }
  }

  /** Rejects an item that `close` does not let run. */
  #drop(item: PendingItem<Key, Item, Output>): void {
    if (item.signal) this.#aborts.unwatch(item.signal, item);
    const error = closedError(this.#settings.name, item.key);
    this.#counts.rejected += 1;
    item.reject(error);
    this.#callbacks.call("onReject", this.#settings.hooks.onReject, item.key, error);
  }

  #refuse(key: Key, error: BatcherError): Promise<never> {
    this.#counts.rejected += 1;
    this.#callbacks.call("onReject", this.#settings.hooks.onReject, key, error);
    return Promise.reject(error);
  }
}
