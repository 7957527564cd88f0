/**
 * What a batcher tells its owner while it works: facts for metrics and traces.
 *
 * A hook is called in the context in which the batcher was made. One that throws or rejects is
 * reported once per batcher as a process warning, and changes nothing else.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Trigger } from "./decide.ts";
import type { BatcherError } from "./errors.ts";

/** A batch that is about to be processed. */
export interface BatchStart<Key> {
  readonly key: Key;
  readonly id: number;
  readonly trigger: Trigger;
  readonly items: number;
  readonly bytes: number;
  /** How long its oldest item was queued, in milliseconds. */
  readonly oldestWaitMs: number;
  /** How long `acquire` took, in milliseconds; 0 without one. */
  readonly acquireMs: number;
}

/** A batch all of whose items are settled. */
export interface BatchEnd<Key> extends BatchStart<Key> {
  /** `ok`: `process` returned one output per item, though some may have failed alone. */
  readonly outcome: "ok" | "batch-failed" | "acquire-failed";
  /** Items that rejected. */
  readonly failedItems: number;
  /** How long `process` took, in milliseconds; 0 if it was not called. */
  readonly processMs: number;
}

export interface BatcherHooks<Key> {
  /** A batch is sealed; `process` is called right after. */
  readonly onBatchStart?: (batch: BatchStart<Key>) => void;
  /** Every item of a batch is settled; also when `acquire` failed and `process` was not called. */
  readonly onBatchEnd?: (batch: BatchEnd<Key>) => void;
  /** An `add` was refused, or a queued item dropped by `close`. */
  readonly onReject?: (key: Key, error: BatcherError) => void;
}

/** Runs foreign code that must not be able to disturb the batcher. */
export class Guests {
  readonly #name: string;
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #warned = false;

  constructor(name: string) {
    this.#name = name;
  }

  /** Calls a function in the context in which the batcher was made. */
  inOwnContext(body: () => void): void {
    this.#inOwnContext(body);
  }

  /** Calls a hook, if there is one. */
  call<Arguments extends unknown[]>(
    hookName: string,
    hook: ((...values: Arguments) => unknown) | undefined,
    ...values: Arguments
  ): void {
    if (!hook) return;
    try {
      const result = this.#inOwnContext(hook, ...values) as unknown;
      if (result instanceof Promise) result.catch((error) => this.warn(hookName, error));
    } catch (error) {
      this.warn(hookName, error);
    }
  }

  /** Emits one warning per batcher, whatever goes wrong after it. */
  warn(what: string, error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    const warning = new Error(
      `${this.#name}: ${what} threw; no item is affected. Further ones are not reported.`,
      { cause: error },
    );
    warning.name = "BatcherWarning";
    process.emitWarning(warning);
  }
}
