/**
 * The hop: the turn of the event loop in which batches start.
 *
 * Starting only in a `setImmediate` hop is what makes batches large: callers that one batch wakes
 * and that add their next item at once all land in the next batch. A microtask would be too early
 * for callers that do so from an I/O callback.
 *
 * Invariant: at most one hop is pending.
 */
import type { BatcherClock } from "./clock.ts";
import { afterReactions } from "./platform.ts";

export class Hop {
  readonly #isWanted: () => boolean;
  readonly #request: () => void;
  #isPending = false;

  /**
   * @param isWanted - whether a batch could start now.
   * @param run - starts the batches; called in the hop.
   */
  constructor(clock: BatcherClock, isWanted: () => boolean, run: () => void) {
    const onHop = () => {
      this.#isPending = false;
      run();
    };
    this.#isWanted = isWanted;
    this.#request = () => clock.setImmediate(onHop);
  }

  /** Requests a hop, unless one is pending or none is wanted. */
  request(): void {
    if (!this.#needsRequest()) return;
    this.#isPending = true;
    this.#request();
  }

  /**
   * The same after a batch, but behind the reactions of its callers: a caller that adds its next
   * item from a `setImmediate` of its own then comes before the hop too.
   */
  requestBehindReactions(): void {
    if (!this.#needsRequest()) return;
    this.#isPending = true;
    afterReactions(this.#request);
  }

  #needsRequest(): boolean {
    return !this.#isPending && this.#isWanted();
  }
}
