/** Bounds what is acknowledged and not yet published: new mail waits for room, but not for ever. */
import type { Clock } from "../../system/index.ts";

export class Backlog {
  readonly #bytesNow: () => number;
  readonly #maxBytes: number;
  readonly #maxWaitMs: number;
  readonly #clock: Clock;
  #waiting: (() => void) | undefined;

  constructor(
    clock: Clock,
    bounds: { readonly maxBytes: number; readonly maxWaitMs: number },
    bytesNow: () => number,
  ) {
    this.#clock = clock;
    this.#maxBytes = bounds.maxBytes;
    this.#maxWaitMs = bounds.maxWaitMs;
    this.#bytesNow = bytesNow;
  }

  /** Waits until so many octets fit, and says whether they do. What is larger than all fits when empty. */
  async hasRoomFor(bytes: number): Promise<boolean> {
    const fits = () => this.#bytesNow() === 0 || this.#bytesNow() + bytes <= this.#maxBytes;
    if (fits()) return true;
    const untilMs = this.#clock.now() + this.#maxWaitMs;
    while (!fits() && this.#clock.now() < untilMs) await this.#change(untilMs);
    return fits();
  }

  /** Something was published. */
  shrunk(): void {
    this.#waiting?.();
  }

  #change(untilMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(() => done(), untilMs - this.#clock.now());
      const done = () => {
        this.#clock.clearTimeout(timer);
        this.#waiting = undefined;
        resolve();
      };
      this.#waiting = done;
    });
  }
}
