/**
 * Hooks: the events of a batcher, for metrics and traces, and the calls of user code that must not
 * disturb it.
 *
 * A hook is called in the async context in which the batcher was made. The first one that throws or
 * rejects is reported as a warning, once per batcher; it changes nothing else.
 */
import type { Trigger } from "./decide.ts";
import type { BatcherError } from "./errors.ts";
import { captureOwnContext, emitWarning } from "./platform.ts";

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

/** A batch whose items are all settled. */
export interface BatchEnd<Key> extends BatchStart<Key> {
  /** `ok`: `process` returned one output per item; single items may still have failed. */
  readonly outcome: "ok" | "batch-failed" | "acquire-failed";
  /** Items that rejected. */
  readonly failedItems: number;
  /** How long `process` took, in milliseconds; 0 if it was not called. */
  readonly processMs: number;
}

export interface BatcherHooks<Key> {
  /** A batch is sealed; `process` is called right after. */
  readonly onBatchStart?: ((batch: BatchStart<Key>) => void) | undefined;
  /** Every item of a batch is settled; also when `acquire` failed and `process` was not called. */
  readonly onBatchEnd?: ((batch: BatchEnd<Key>) => void) | undefined;
  /** An `add` was refused, or `close` dropped a queued item. */
  readonly onReject?: ((key: Key, error: BatcherError) => void) | undefined;
}

/** Calls user code so that its errors and its async context do not reach the batcher. */
export class UserCallbacks {
  readonly #name: string;
  readonly #inOwnContext = captureOwnContext();
  #hasWarned = false;

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

  /** The value that a `captureContext` returns, in the caller's context; none when it throws. */
  captureContext(capture: () => unknown): unknown {
    try {
      return capture();
    } catch (error) {
      this.warn("captureContext", error);
      return undefined;
    }
  }

  /** Emits a warning, the first time only. */
  warn(what: string, error: unknown): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const warning = new Error(
      `${this.#name}: ${what} threw; no item is affected; further errors of hooks are not reported`,
      { cause: error },
    );
    warning.name = "BatcherWarning";
    emitWarning(warning);
  }
}
