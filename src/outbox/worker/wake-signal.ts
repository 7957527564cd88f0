/** Wakes the worker's loop. A signal that is set while nothing waits ends the next wait at once. */
import type { Clock } from "../../system/index.ts";

export class WakeSignal {
  readonly #clock: Clock;
  #isSet = false;
  readonly #waiters = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(): void {
    this.#isSet = true;
    for (const wake of this.#waiters) wake();
  }

  /**
   * Resolves once the signal was set since the last wait, at the latest after `maxMs`; clears the
   * signal.
   */
  async wait(maxMs: number): Promise<void> {
    if (!this.#isSet) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = this.#clock.setTimeout(resolve, maxMs);
      this.#waiters.add(resolve);
      await promise;
      this.#waiters.delete(resolve);
      this.#clock.clearTimeout(timer);
    }
    this.#isSet = false;
  }
}
