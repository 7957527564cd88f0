/**
 * A sealed batch, as `process` sees it, and the one way to fail a single item of it.
 */
import type { Trigger } from "./decide.ts";
import type { Slot } from "./key-queue.ts";

/** What `process` is given: the items of one key, in the order in which they were accepted. */
export interface Batch<Key, Item, Resource> {
  readonly key: Key;
  /** At least one item, at most `maxBatchItems`. */
  readonly items: readonly Item[];
  /** What `acquire` returned; `undefined` without one. */
  readonly resource: Resource;
  /** What `captureContext` returned for each item; empty without one. */
  readonly contexts: readonly unknown[];
  /**
   * Aborts when the caller of *every* item has aborted, or when `close({ timeoutMs })` runs out.
   * An item whose caller aborted is processed like its neighbours, and its caller gets the result.
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
    this.items = slot.entries.map(({ item }) => item);
    this.resource = resource;
    this.contexts = withContexts ? slot.entries.map(({ context }) => context) : noContexts;
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
  for (const entry of slot.entries) bytes += entry.bytes;
  return bytes;
}

/** The mark `fail` leaves in the outputs; a class of our own, so that any other value is an output. */
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
 * @param reason - what that item's `add` rejects with, as it is.
 */
export function fail(reason: unknown): Failure {
  return new Failure(reason);
}

export function isFailure(output: unknown): output is Failure {
  return output instanceof Failure;
}
