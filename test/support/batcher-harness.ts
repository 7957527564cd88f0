/**
 * A batcher on a simulated clock, whose batches end when the test ends them, or after `workMs`.
 */
import assert from "node:assert/strict";
import { type Batch, Batcher, BatcherError, type BatcherOptions } from "../../src/batcher/index.ts";
import { reactions, SimClock } from "./sim-clock.ts";

type HarnessOptions = BatcherOptions<string, unknown, unknown, unknown>;

export interface HarnessBatch {
  readonly key: string;
  readonly items: readonly unknown[];
  readonly trigger: string;
  readonly startedAtMs: number;
  readonly batch: Batch<string, unknown, unknown>;
  /** Resolves the batch; by default each item is its own output. */
  finish(outputs?: unknown): void;
  /** Rejects the batch. */
  fail(reason: unknown): void;
}

/** The state of one `add`. */
export interface Added {
  readonly promise: Promise<unknown>;
  settled: "value" | "error" | undefined;
  value: unknown;
  error: unknown;
  settledAtMs: number | undefined;
}

export class BatcherHarness {
  readonly clock: SimClock;
  readonly batcher: Batcher<string, unknown, unknown, unknown>;
  readonly batches: HarnessBatch[] = [];

  /**
   * @param options - the batcher's, and `workMs`, the duration of each batch; without `workMs` the
   *   test ends each batch by `finish` or `fail`.
   */
  constructor(
    options: Partial<HarnessOptions> & { readonly workMs?: number; readonly seed?: number } = {},
  ) {
    const { workMs, seed = 1, ...rest } = options;
    this.clock = new SimClock({ seed });
    this.batcher = new Batcher<string, unknown, unknown, unknown>({
      process: (batch) => this.#process(batch, workMs),
      clock: this.clock,
      ...rest,
    });
  }

  add(key: string, item: unknown, signal?: AbortSignal): Added {
    const promise = this.batcher.add(key, item, { signal });
    const added: Added = {
      promise,
      settled: undefined,
      value: undefined,
      error: undefined,
      settledAtMs: undefined,
    };
    promise.then(
      (value) => this.#settle(added, "value", value),
      (error) => this.#settle(added, "error", error),
    );
    return added;
  }

  addMany(key: string, items: readonly unknown[]): Added[] {
    return items.map((item) => this.add(key, item));
  }

  /** One turn of the event loop, with the batcher's hop (its pending setImmediate). */
  async turn(): Promise<void> {
    await reactions();
    this.clock.runImmediates();
    await reactions();
  }

  /** Runs immediates and timers until none is pending. */
  async run(): Promise<void> {
    await reactions();
    await this.clock.run();
  }

  /** Advances time, and fires the timers that become due, turn by turn. */
  async advance(byMs: number): Promise<void> {
    const until = this.clock.now() + byMs;
    await this.#turns();
    for (let at = this.clock.nextTimerAtMs; at !== undefined && at <= until; ) {
      this.clock.fireNextTimer();
      await this.#turns();
      at = this.clock.nextTimerAtMs;
    }
    this.clock.advance(until - this.clock.now());
  }

  /** The items of each batch so far. */
  get sealed(): unknown[] {
    return this.batches.map(({ items }) => items);
  }

  async #turns(): Promise<void> {
    do await this.turn();
    while (this.clock.pendingImmediates > 0);
  }

  #settle(added: Added, settled: "value" | "error", result: unknown): void {
    assert.equal(added.settled, undefined);
    added.settled = settled;
    added[settled] = result;
    added.settledAtMs = this.clock.now();
  }

  #process(
    batch: Batch<string, unknown, unknown>,
    workMs: number | undefined,
  ): Promise<readonly unknown[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly unknown[]>();
    const finish = (outputs: unknown = batch.items) => resolve(outputs as readonly unknown[]);
    const { key, items, trigger } = batch;
    this.batches.push({
      key,
      items,
      trigger,
      batch,
      finish,
      startedAtMs: this.clock.now(),
      fail: reject,
    });
    if (workMs !== undefined) this.clock.setTimeout(() => finish(), workMs);
    return promise;
  }
}

/** Asserts that an `add` rejected with a batcher's error of this code, and returns the error. */
export function assertCode(added: Added | undefined, code: BatcherError["code"]): BatcherError {
  assert.equal(added?.settled, "error");
  assert.ok(added.error instanceof BatcherError, String(added.error));
  assert.equal(added.error.code, code);
  return added.error;
}
