/**
 * A clock that stands still until a test moves it.
 *
 * Timers that are due at the same instant fire in an order from a seed, because code must be right
 * in any order; immediates keep their order, as Node guarantees. Moving the clock takes no real
 * time.
 */
import type { Clock } from "../../src/system/index.ts";
import { SeededRandom } from "./seeded-random.ts";

interface Timer {
  readonly dueAtMs: number;
  /** Orders the timers of one instant. */
  readonly order: number;
  readonly callback: () => void;
}

export interface SimClockOptions {
  /** Seed of the order of timers that are due together. @defaultValue 1 */
  readonly seed?: number;
  /** The wall clock at the start, in milliseconds since the epoch. @defaultValue 2026-01-01 UTC */
  readonly wallTimeMs?: number;
}

export class SimClock implements Clock {
  #now = 0;
  #wallOffsetMs: number;
  readonly #random: SeededRandom;
  readonly #timers = new Set<Timer>();
  #immediates: (() => void)[] = [];

  constructor({ seed = 1, wallTimeMs = Date.UTC(2026, 0, 1) }: SimClockOptions = {}) {
    this.#random = new SeededRandom(seed);
    this.#wallOffsetMs = wallTimeMs;
  }

  now(): number {
    return this.#now;
  }

  wallTimeMs(): number {
    return Math.floor(this.#wallOffsetMs + this.#now);
  }

  setTimeout(callback: () => void, delayMs: number): Timer {
    const dueAtMs = this.#now + Math.max(0, delayMs);
    const timer = { dueAtMs, order: this.#random.next(), callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as Timer);
  }

  setImmediate(callback: () => void): void {
    this.#immediates.push(callback);
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  get pendingImmediates(): number {
    return this.#immediates.length;
  }

  /** The instant on this clock (`now`) of the next timer, if a timer is set. */
  get nextTimerAtMs(): number | undefined {
    return this.#nextTimer()?.dueAtMs;
  }

  /** Moves the wall clock in either direction; `now` is not affected. */
  stepWallTime(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** Runs the pending immediates: one turn of the event loop. */
  runImmediates(): void {
    const turn = this.#immediates;
    this.#immediates = [];
    for (const callback of turn) callback();
  }

  /**
   * Moves the clock to the next timer and fires the timer; `earlyMs` before it is due, as Node may.
   *
   * @returns false if no timer is set.
   */
  fireNextTimer(earlyMs = 0): boolean {
    const timer = this.#nextTimer();
    if (!timer) return false;
    this.#timers.delete(timer);
    this.#now = Math.max(this.#now, timer.dueAtMs - earlyMs);
    timer.callback();
    return true;
  }

  /** Moves the clock and fires the timers that become due. */
  advance(byMs: number): void {
    const until = this.#now + byMs;
    for (let dueAtMs = this.nextTimerAtMs; dueAtMs !== undefined && dueAtMs <= until; ) {
      this.fireNextTimer();
      dueAtMs = this.nextTimerAtMs;
    }
    this.#now = until;
  }

  /**
   * Runs the pending immediates, or without immediates fires the next timer; then runs all promise
   * reactions.
   *
   * @returns false if neither an immediate nor a timer is pending.
   */
  async step(): Promise<boolean> {
    if (this.#immediates.length > 0) this.runImmediates();
    else if (!this.fireNextTimer()) return false;
    await reactions();
    return true;
  }

  /** Steps until no immediate and no timer is pending, or `until` returns true. */
  async run(until: () => boolean = () => false): Promise<void> {
    while (!until() && (await this.step()));
  }

  #nextTimer(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      const earlier = next === undefined || timer.dueAtMs < next.dueAtMs;
      if (earlier || (timer.dueAtMs === next?.dueAtMs && timer.order < next.order)) next = timer;
    }
    return next;
  }
}

/** Resolves when all promise reactions have run. */
export function reactions(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
