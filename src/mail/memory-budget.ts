/**
 * Bounds how many octets of messages are in memory at once: who comes when too many are, waits
 * for those before, in order. A message larger than the whole budget waits until it is alone.
 */

interface Waiter {
  readonly bytes: number;
  readonly enter: () => void;
}

export class MemoryBudget {
  readonly #maxBytes: number;
  #freeBytes: number;
  readonly #waiting: Waiter[] = [];

  /** @param maxBytes - Octets that may be held at once. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#freeBytes = maxBytes;
  }

  /**
   * Runs work that holds so many octets. At once while there is room and nobody waits.
   *
   * @throws The signal's reason when it aborts in the wait; the work was not begun then.
   */
  async hold<Result>(
    bytes: number,
    signal: AbortSignal,
    work: () => Promise<Result>,
  ): Promise<Result> {
    const taken = Math.min(bytes, this.#maxBytes);
    if (this.#waiting.length > 0 || taken > this.#freeBytes) await this.#turn(taken, signal);
    else this.#freeBytes -= taken;
    try {
      return await work();
    } finally {
      this.#freeBytes += taken;
      this.#letIn();
    }
  }

  async #turn(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { bytes, enter: resolve };
    const abort = () => {
      const position = this.#waiting.indexOf(waiter);
      if (position < 0) return;
      this.#waiting.splice(position, 1);
      reject(signal.reason);
      this.#letIn();
    };
    this.#waiting.push(waiter);
    signal.addEventListener("abort", abort, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", abort));
  }

  #letIn(): void {
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined || first.bytes > this.#freeBytes) return;
      this.#waiting.shift();
      this.#freeBytes -= first.bytes;
      first.enter();
    }
  }
}
