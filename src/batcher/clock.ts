/** The clock of a batcher: the platform's, or one that a test steps. */
import { inNextTurn } from "./platform.ts";

/** A clock by shape, because this room imports no other. */
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
