/**
 * A connection's deadline, which moves with every command. A timer for each command would be
 * costly, so one timer checks the deadline when it fires and is set again for the rest of the time.
 */
import type { Clock, TimerHandle } from "../../../system/index.ts";

export class Deadline {
  readonly #clock: Clock;
  readonly #onPassed: () => void;
  #atMs = Number.POSITIVE_INFINITY;
  #timer: TimerHandle;
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, onPassed: () => void) {
    this.#clock = clock;
    this.#onPassed = onPassed;
  }

  /** Sets the deadline `delayMs` from now, in place of the present deadline. */
  set(delayMs: number): void {
    this.#atMs = this.#clock.now() + delayMs;
    if (this.#atMs < this.#timerAtMs) this.#setTimer(delayMs);
  }

  /** Removes the deadline until the next {@link set}. */
  suspend(): void {
    this.#atMs = Number.POSITIVE_INFINITY;
  }

  /** Removes the deadline and the timer. */
  end(): void {
    this.suspend();
    this.#clock.clearTimeout(this.#timer);
  }

  #setTimer(delayMs: number): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timerAtMs = this.#clock.now() + delayMs;
    this.#timer = this.#clock.setTimeout(() => this.#onTimer(), delayMs);
  }

  #onTimer(): void {
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    if (this.#atMs === Number.POSITIVE_INFINITY) return;
    const leftMs = this.#atMs - this.#clock.now();
    if (leftMs > 0) this.#setTimer(leftMs);
    else this.#onPassed();
  }
}
