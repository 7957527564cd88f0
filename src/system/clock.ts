/**
 * The seam to time. All code that waits takes a `Clock`, so that a test can move time by hand.
 *
 * `now` is monotonic: a step of the wall clock must not shorten or lengthen a wait. The wall
 * clock is only for dates that are written down, as in a Maildir name or a `Received` field.
 */
export type TimerHandle = unknown;

export interface Clock {
  /** Milliseconds from an arbitrary start, never going back. */
  now(): number;
  /** Milliseconds since 1970-01-01 UTC by the machine's clock; may step in either direction. */
  wallTimeMs(): number;
  setTimeout(callback: () => void, delayMs: number): TimerHandle;
  clearTimeout(timer: TimerHandle): void;
  /** Runs `callback` after the sockets of this turn of the event loop have been read. */
  setImmediate(callback: () => void): void;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallTimeMs: () => Date.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  setImmediate: (callback) => {
    setImmediate(callback);
  },
};
