/**
 * The callers that wait until their marks are on the disk, and the time by which these must be
 * written.
 */
import type { Clock } from "../system/index.ts";
import type { JournalError } from "./errors.ts";

interface MarkWaiter {
  readonly resolve: () => void;
  readonly reject: (error: JournalError) => void;
}

export class MarkWaiters {
  readonly #clock: Clock;
  readonly #onDue: () => void;
  #waiters: MarkWaiter[] = [];
  #areDue = false;
  #timer: unknown;
  #dueAtMs = 0;

  /** @param onDue - called when the marks that rode on no frame need a write of their own. */
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

  /**
   * Resolves when the next record is on the disk; its write starts within `withinMs` milliseconds.
   */
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

  /** Takes all waiters, for the record that is about to be written. */
  take(): readonly MarkWaiter[] {
    const taken = this.#waiters;
    this.#waiters = [];
    this.#areDue = false;
    return taken;
  }

  /** Returns waiters whose record was not written; they are due at once. */
  putBack(waiters: readonly MarkWaiter[]): void {
    this.#waiters.unshift(...waiters);
    this.#areDue = this.#waiters.length > 0;
  }

  rejectAll(error: JournalError): void {
    for (const { reject } of this.take()) reject(error);
  }

  #callWithin(withinMs: number): void {
    const dueAtMs = this.#clock.now() + withinMs;
    if (this.#timer !== undefined && this.#dueAtMs <= dueAtMs) return;
    this.#clock.clearTimeout(this.#timer);
    this.#dueAtMs = dueAtMs;
    this.#timer = this.#clock.setTimeout(() => this.dueNow(), withinMs);
  }
}
