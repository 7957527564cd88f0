/** Those who wait until what they said is on the disk, and when that must be at the latest. */
import type { Clock } from "../system/index.ts";
import type { JournalError } from "./errors.ts";

export interface MarkWaiter {
  readonly resolve: () => void;
  readonly reject: (error: JournalError) => void;
}

export class MarkWaiters {
  readonly #clock: Clock;
  readonly #onDue: () => void;
  #waiters: MarkWaiter[] = [];
  #areDue = false;
  #timer: unknown;
  #dueAt = 0;

  /** `onDue` is called when a write of its own is due for those that no frame took along. */
  constructor(clock: Clock, onDue: () => void) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  get count(): number {
    return this.#waiters.length;
  }

  get areDue(): boolean {
    return this.#areDue;
  }

  /** Resolves when the next record is on the disk, which is to be begun within so many milliseconds. */
  add(withinMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (withinMs > 0) this.#callWithin(withinMs);
      else this.dueNow();
    });
  }

  dueNow(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#areDue = this.#waiters.length > 0;
    this.#onDue();
  }

  /** Takes all of them, for the record that is about to be written. */
  take(): readonly MarkWaiter[] {
    const taken = this.#waiters;
    this.#waiters = [];
    this.#areDue = false;
    return taken;
  }

  /** Their record was not written; they are due at once. */
  putBack(waiters: readonly MarkWaiter[]): void {
    this.#waiters.unshift(...waiters);
    this.#areDue = this.#waiters.length > 0;
  }

  rejectAll(error: JournalError): void {
    for (const { reject } of this.take()) reject(error);
  }

  #callWithin(withinMs: number): void {
    const dueAt = this.#clock.now() + withinMs;
    if (this.#timer !== undefined && this.#dueAt <= dueAt) return;
    this.#clock.clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = this.#clock.setTimeout(() => this.dueNow(), withinMs);
  }
}
