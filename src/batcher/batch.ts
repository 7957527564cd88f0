/**
 * A sealed batch, as `process` sees it, and the one way to fail a single item of it.
 */
import type { Trigger } from "./decide.ts";

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

/** An abort signal made on demand: most batches never look at theirs, and one costs more than an item. */
export class LazySignal {
  #controller: AbortController | undefined;
  #aborted = false;
  #reason: unknown;

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    this.#controller?.abort(reason);
  }
}

export class SealedBatch<Key, Item, Resource> implements Batch<Key, Item, Resource> {
  readonly key: Key;
  readonly items: Item[] = [];
  readonly resource: Resource;
  readonly contexts: unknown[] = [];
  readonly id: number;
  readonly trigger: Trigger;
  bytes = 0;
  readonly #lazySignal: LazySignal;

  constructor(key: Key, resource: Resource, id: number, trigger: Trigger, signal: LazySignal) {
    this.key = key;
    this.resource = resource;
    this.id = id;
    this.trigger = trigger;
    this.#lazySignal = signal;
  }

  get signal(): AbortSignal {
    return this.#lazySignal.signal;
  }
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
