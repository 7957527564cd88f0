/** Wakes whoever sleeps. What rings while nobody sleeps is heard by the next. */
import type { Clock } from "../../system/index.ts";

export class Bell {
  readonly #clock: Clock;
  #rang = false;
  readonly #sleepers = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ring(): void {
    this.#rang = true;
    for (const wake of this.#sleepers) wake();
  }

  /** Resolves when it has rung since the last call, at the latest after `mostMs`. */
  async heard(mostMs: number): Promise<void> {
    if (!this.#rang) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = this.#clock.setTimeout(resolve, mostMs);
      this.#sleepers.add(resolve);
      await promise;
      this.#sleepers.delete(resolve);
      this.#clock.clearTimeout(timer);
    }
    this.#rang = false;
  }
}
