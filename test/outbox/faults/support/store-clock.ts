/** The clock of a store, which a test sets: it decides what is due and which lease has run out. */
import { type Clock, systemClock } from "../../../../src/system/index.ts";

/** The machine's clock with another wall time; waits are real. */
export class MovedClock implements Clock {
  offsetMs = 0;
  readonly now: () => number = systemClock.now;
  readonly setTimeout = systemClock.setTimeout;
  readonly clearTimeout = systemClock.clearTimeout;
  readonly setImmediate = systemClock.setImmediate;

  constructor(offsetMs = 0) {
    this.offsetMs = offsetMs;
  }

  wallTimeMs(): number {
    return systemClock.wallTimeMs() + this.offsetMs;
  }
}

export interface StoreClock {
  /** Opens the store with this one. */
  readonly clock: MovedClock;
  /** Sets the clock of the store forward, or back. */
  step(ms: number): Promise<void>;
}

/** The clock of an SQLite store is that of the process which opens it. */
export function sqliteClock(offsetMs = 0): StoreClock {
  const clock = new MovedClock(offsetMs);
  return {
    clock,
    async step(ms) {
      clock.offsetMs += ms;
    },
  };
}
