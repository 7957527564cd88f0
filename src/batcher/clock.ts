import { inNextTurn } from "./platform.ts";

/**
 * The clock of a batcher, declared by shape: this room imports no other, and a test can step time.
 */
export interface BatcherClock {
  /** Milliseconds from an arbitrary start, never going back. */
  now(): number;
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: unknown): void;
  /** Runs `callback` in the next turn of the event loop, behind the I/O of this one. */
  setImmediate(callback: () => void): unknown;
}

/** A timer is an object in Node and a number in browsers. */
type Timer = ReturnType<typeof setTimeout>;

export const realClock: BatcherClock = {
  now: () => performance.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (timer) => clearTimeout(timer as Timer),
  setImmediate: inNextTurn,
};
