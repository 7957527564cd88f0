/** The end of a batcher: resolves when it is drained, or rejects when the time for that is over. */
import type { BatcherClock } from "./clock.ts";

export class Drain {
  readonly promise: Promise<void>;
  #resolve: () => void = () => {};
  readonly #clock: BatcherClock;
  readonly #timer: unknown;

  /**
   * @param giveUp - returns the error to reject with; not called when `timeoutMs` is `undefined`.
   */
  constructor(
    clock: BatcherClock,
    timeoutMs: number | undefined,
    giveUp: (timeoutMs: number) => Error,
  ) {
    this.#clock = clock;
    let rejectWith: (error: Error) => void;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      rejectWith = reject;
    });
    if (timeoutMs !== undefined) {
      this.#timer = clock.setTimeout(() => rejectWith(giveUp(timeoutMs)), timeoutMs);
    }
  }

  /** Nothing is queued or in flight. After `giveUp` this has no effect. */
  drained(): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);
    this.#resolve();
  }
}
