/**
 * A clock that stands still until a test moves it.
 *
 * What is due at the same instant runs in an order drawn from a seed, because code that is only right
 * in one order is wrong; immediates keep their order, as Node promises. Nothing here waits: a test that
 * steps this clock takes no time.
 */
import type { Clock } from "../../src/system/index.ts";
import { SeededRandom } from "./seeded-random.ts";

interface Timer {
  readonly dueAt: number;
  /** Breaks the tie between timers of one instant. */
  readonly lot: number;
  readonly callback: () => void;
}

export interface SimClockOptions {
  /** Chooses the order of timers that are due together. @defaultValue 1 */
  readonly seed?: number;
  /** What the wall clock shows at the start. @defaultValue 2026-01-01 UTC */
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
    const dueAt = this.#now + Math.max(0, delayMs);
    const timer = { dueAt, lot: this.#random.next(), callback };
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

  /** When the next timer is due, if any is armed. */
  get nextTimerAt(): number | undefined {
    return this.#nextTimer()?.dueAt;
  }

  /** Steps the wall clock, in either direction; `now` does not notice. */
  stepWallTime(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** Runs the immediates that are pending now: one turn of the event loop. */
  runImmediates(): void {
    const turn = this.#immediates;
    this.#immediates = [];
    for (const callback of turn) callback();
  }

  /**
   * Fires the next timer, moving time to it; with `earlyMs`, up to so much before it is due, as Node
   * does.
   *
   * @returns false if none is armed.
   */
  fireNextTimer(earlyMs = 0): boolean {
    const timer = this.#nextTimer();
    if (!timer) return false;
    this.#timers.delete(timer);
    this.#now = Math.max(this.#now, timer.dueAt - earlyMs);
    timer.callback();
    return true;
  }

  /** Moves time on, and fires on the way whatever falls due. */
  advance(byMs: number): void {
    const until = this.#now + byMs;
    for (let dueAt = this.nextTimerAt; dueAt !== undefined && dueAt <= until; ) {
      this.fireNextTimer();
      dueAt = this.nextTimerAt;
    }
    this.#now = until;
  }

  /**
   * Does the next thing that is to happen: a turn of immediates if any is pending, else the next timer;
   * then lets every promise reaction run.
   *
   * @returns false if nothing is pending.
   */
  async step(): Promise<boolean> {
    if (this.#immediates.length > 0) this.runImmediates();
    else if (!this.fireNextTimer()) return false;
    await reactions();
    return true;
  }

  /** Steps until nothing is pending, or `until` says so. */
  async run(until: () => boolean = () => false): Promise<void> {
    while (!until() && (await this.step()));
  }

  #nextTimer(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      const earlier = next === undefined || timer.dueAt < next.dueAt;
      if (earlier || (timer.dueAt === next?.dueAt && timer.lot < next.lot)) next = timer;
    }
    return next;
  }
}

/** Resolves when every promise reaction that could run has run. */
export function reactions(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
