/**
 * Bounds the mail that is acknowledged and not yet published: admission.ts lets a batch wait here
 * for room, at most `maxWaitMs`, and then refuses the batch's messages.
 */
import { type Clock, invariant } from "../../system/index.ts";

export class Backlog {
  readonly #bytesNow: () => number;
  readonly #maxBytes: number;
  readonly #maxWaitMs: number;
  readonly #clock: Clock;
  #wake: (() => void) | undefined;

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

  /**
   * Waits until `bytes` fit, at most `maxWaitMs`; resolves with whether they fit. A batch larger
   * than the bound fits into an empty backlog. One call at a time: admissions run in turn.
   */
  async hasRoomFor(bytes: number): Promise<boolean> {
    const fits = () => this.#bytesNow() === 0 || this.#bytesNow() + bytes <= this.#maxBytes;
    if (fits()) return true;
    const untilMs = this.#clock.now() + this.#maxWaitMs;
    while (!fits() && this.#clock.now() < untilMs) await this.#change(untilMs);
    return fits();
  }

  /** To be called when messages were published: a waiting batch checks again. */
  shrunk(): void {
    this.#wake?.();
  }

  #change(untilMs: number): Promise<void> {
    invariant(this.#wake === undefined, "one batch at a time waits for the backlog");
    return new Promise((resolve) => {
      const wake = () => {
        this.#clock.clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
      const timer = this.#clock.setTimeout(wake, untilMs - this.#clock.now());
      this.#wake = wake;
    });
  }
}
