/**
 * A deadline that moves with every command, on one timer that does not: the timer looks at the deadline
 * when it fires, instead of being set anew each time.
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

  /** Sets the deadline `delayMs` from now, in place of the one before. */
  set(delayMs: number): void {
    this.#atMs = this.#clock.now() + delayMs;
    if (this.#atMs < this.#timerAtMs) this.#setTimer(delayMs);
  }

  /** Lets no time run until the next {@link set}. */
  suspend(): void {
    this.#atMs = Number.POSITIVE_INFINITY;
  }

  /** Suspends, and lets the timer go. */
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
