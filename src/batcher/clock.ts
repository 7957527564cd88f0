/**
 * The clock a batcher runs on, stated by shape, so that this room needs no other and a test can turn
 * time by hand.
 */
export interface BatcherClock {
  /** Milliseconds from an arbitrary start, never going back. */
  now(): number;
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: unknown): void;
  /** Runs `callback` in the next turn of the event loop, behind the I/O of this one. */
  setImmediate(callback: () => void): unknown;
}

export const realClock: BatcherClock = {
  now: () => performance.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  setImmediate: (callback) => setImmediate(callback),
};
