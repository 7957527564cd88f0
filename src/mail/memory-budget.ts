/**
 * Bounds the bytes of messages in memory at once: further messages wait, in order of arrival. A
 * message larger than the whole budget waits until it is alone.
 */

interface Waiter {
  readonly bytes: number;
  readonly enter: () => void;
}

export class MemoryBudget {
  readonly #maxBytes: number;
  #freeBytes: number;
  readonly #waiting: Waiter[] = [];

  /** @param maxBytes - Bytes in memory at once. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#freeBytes = maxBytes;
  }

  /**
   * Runs work that has so many bytes in memory: at once, if there is room and no other work waits.
   *
   * @throws The signal's reason if it aborts during the wait; the work has not begun then.
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
