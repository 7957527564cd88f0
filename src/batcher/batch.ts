/** A sealed batch, as `process` sees it, its outputs, and `fail`: how a single item of it fails. */
import type { Trigger } from "./decide.ts";
import type { PendingItem, Slot } from "./key-queue.ts";

/** The argument of `process`: items of one key, in the order in which they were accepted. */
export interface Batch<Key, Item, Resource> {
  readonly key: Key;
  /** At least one item, at most `maxBatchItems`. */
  readonly items: readonly Item[];
  /** The value that `acquire` returned; `undefined` without one. */
  readonly resource: Resource;
  /** The value of `captureContext` for each item; empty without one. */
  readonly contexts: readonly unknown[];
  /**
   * Aborts when the caller of *every* item has aborted, or when the time of `close({ timeoutMs })`
   * is over. An item whose caller aborted is processed like the others, and its caller gets the
   * result.
   */
  readonly signal: AbortSignal;
  /** Counts the batches of this batcher, from 1. */
  readonly id: number;
  readonly trigger: Trigger;
  /** The sum of `sizeOf` over the items; 0 without `sizeOf`. */
  readonly bytes: number;
}

const noContexts: readonly unknown[] = Object.freeze([]);

export class SealedBatch<Key, Item, Output, Resource> implements Batch<Key, Item, Resource> {
  readonly key: Key;
  readonly items: readonly Item[];
  readonly resource: Resource;
  readonly contexts: readonly unknown[];
  readonly id: number;
  readonly trigger: Trigger;
  readonly bytes: number;
  readonly #slot: Slot<Key, Item, Output>;

  constructor(slot: Slot<Key, Item, Output>, resource: Resource, withContexts: boolean) {
    this.key = slot.queue.key;
    this.items = slot.items.map(({ value }) => value);
    this.resource = resource;
    this.contexts = withContexts ? slot.items.map(({ context }) => context) : noContexts;
    this.id = slot.batchId;
    this.trigger = slot.trigger;
    this.bytes = bytesOf(slot);
    this.#slot = slot;
  }

  get signal(): AbortSignal {
    return this.#slot.signal;
  }
}

/** The sum of the sizes of a slot's items. */
export function bytesOf<Key, Item, Output>(slot: Slot<Key, Item, Output>): number {
  let bytes = 0;
  for (const item of slot.items) bytes += item.bytes;
  return bytes;
}

/** What `fail` returns; a class of its own, so that every other value is an output. */
class Failure {
  readonly reason: unknown;
  constructor(reason: unknown) {
    this.reason = reason;
  }
}

export type { Failure };

/**
 * Marks one item of a batch as failed: put it in the outputs, in the item's place.
 *
 * @param reason - that item's `add` rejects with this very value.
 */
export function fail(reason: unknown): Failure {
  return new Failure(reason);
}

/** Settles each item with its output; returns how many failed alone. */
export function settleItems<Key, Item, Output>(
  items: readonly PendingItem<Key, Item, Output>[],
  outputs: readonly unknown[],
): number {
  let failed = 0;
  items.forEach((item, index) => {
    const output = outputs[index];
    if (output instanceof Failure) {
      failed += 1;
      item.reject(output.reason);
    } else {
      item.resolve(output as Output);
    }
  });
  return failed;
}
