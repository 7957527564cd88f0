/**
 * A batcher in a controlled environment: the clock moves only by hand, and the test ends `process`,
 * `acquire` and `release`, well or badly. After every event the batcher is compared with the model.
 */
import assert from "node:assert/strict";
import { type Batch, Batcher, BatcherError, fail } from "../../../src/batcher/index.ts";
import { reactions, SimClock } from "../../support/sim-clock.ts";
import { BatcherModel, type ModelItem, type ModelKey, type ModelOptions } from "./model.ts";

export interface HarnessOptions extends ModelOptions {
  readonly seed: number;
  readonly acquires: boolean;
  readonly releases: boolean;
  readonly hooksThrow: boolean;
}

type Output = string;
type SimBatch = Batch<string, ModelItem, number>;

interface Added extends ModelItem {
  actual?: string;
  readonly controller: AbortController;
}

interface Running {
  readonly key: ModelKey;
  readonly items: readonly ModelItem[];
  readonly signal: AbortSignal;
  readonly resource: number;
  readonly resolve: (outputs: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

interface Pending<Value> {
  readonly key: ModelKey;
  readonly signal?: AbortSignal;
  readonly resolve: (value: Value) => void;
  readonly reject: (reason: unknown) => void;
}

export type Ending = "ok" | "one fails" | "reject" | "short" | "long" | "no array";

export class SimulationHarness {
  readonly options: HarnessOptions;
  readonly clock: SimClock;
  readonly model: BatcherModel;
  readonly batcher: Batcher<string, ModelItem, Output, number>;
  readonly running: Running[] = [];
  readonly acquiring: Pending<number>[] = [];
  readonly releasing: Pending<void>[] = [];
  readonly flushes: { readonly items: ModelItem[]; done: boolean }[] = [];
  throwNext: "process" | "acquire" | undefined;
  closed: "no" | "pending" | "resolved" | "rejected" = "no";
  acquired = 0;
  released = 0;
  #afterwards: (() => void)[] = [];
  #fault: assert.AssertionError | undefined;
  #inClose = false;
  /** For each key that waits for its turn, the turns of other keys meanwhile. */
  readonly #turnsOfOthers = new Map<string, Map<string, number>>();

  constructor(options: HarnessOptions) {
    this.options = options;
    this.clock = new SimClock({ seed: options.seed });
    this.model = new BatcherModel(options);
    const throwing = () => {
      throw new Error("a hook threw");
    };
    const { seed: _, acquires, releases, hooksThrow, ...limits } = options;
    this.batcher = new Batcher<string, ModelItem, Output, number>({
      ...limits,
      sizeOf: (item) => item.bytes,
      process: (batch) => this.#noteFault(() => this.#process(batch)) as Promise<Output[]>,
      acquire: acquires
        ? (key, signal) => this.#noteFault(() => this.#acquire(key, signal))
        : undefined,
      release: releases ? (_resource, key) => this.#release(key) : undefined,
      hooks: hooksThrow
        ? { onBatchStart: throwing, onBatchEnd: throwing, onReject: throwing }
        : undefined,
      captureContext: hooksThrow ? throwing : undefined,
      clock: {
        now: () => this.clock.now(),
        setTimeout: (callback, delayMs) => this.#setTimeout(callback, delayMs),
        clearTimeout: (timer) => this.clock.clearTimeout(timer),
        setImmediate: (callback) => this.clock.setImmediate(callback),
      },
    });
  }

  add(key: string, bytes: number, abortable: boolean): void {
    const item = this.model.add(key, bytes, this.clock.now()) as Added;
    const controller = new AbortController();
    Object.assign(item, { controller });
    const running = this.running.length;
    const added = this.batcher.add(key, item, abortable ? { signal: controller.signal } : {});
    assert.equal(this.running.length, running, "add does not start process");
    this.#watch(item, added);
    if (!abortable) Object.assign(item, { controller: undefined });
  }

  #watch(item: Added, added: Promise<Output>): void {
    added.then(
      (output) => {
        item.actual = `value ${output}`;
      },
      (error: unknown) => {
        item.actual = error instanceof BatcherError ? `code ${error.code}` : `reason ${error}`;
      },
    );
  }

  abort(index: number): void {
    const candidates = (this.model.items as Added[]).filter(
      ({ controller, aborted }) => controller && !aborted,
    );
    const item = candidates[index % candidates.length];
    if (!item) return;
    this.model.abort(item);
    this.#turnsOfOthers.delete(item.key);
    item.controller.abort(`abort ${item.id}`);
  }

  finish(index: number, ending: Ending): void {
    const [batch] = this.running.splice(index % this.running.length, 1);
    if (!batch) return;
    const { items } = batch;
    this.model.finish(items, (item, at) => this.#expected(item, at, items.length, ending));
    this.#leave(batch.key);
    const outputs: unknown[] = items.map(({ id }) => `output ${id}`);
    if (ending === "ok") batch.resolve(outputs);
    else if (ending === "one fails")
      batch.resolve([fail(`fail ${items[0]?.id}`), ...outputs.slice(1)]);
    else if (ending === "reject") batch.reject(new Error("process rejected"));
    else if (ending === "short") batch.resolve(outputs.slice(1));
    else if (ending === "long") batch.resolve([...outputs, "one too many"]);
    else batch.resolve({ length: items.length });
  }

  #expected(item: ModelItem, index: number, count: number, ending: Ending): string {
    if (ending === "ok") return `value output ${item.id}`;
    if (ending === "one fails") {
      return index === 0 && count > 0 ? `reason fail ${item.id}` : `value output ${item.id}`;
    }
    return `code ERR_BATCHER_${ending === "reject" ? "BATCH_FAILED" : "OUTPUT_COUNT"}`;
  }

  finishAcquire(index: number, ok: boolean): void {
    const [acquire] = this.acquiring.splice(index % this.acquiring.length, 1);
    if (!acquire) return;
    if (!ok) {
      this.#failAcquire(acquire.key);
      acquire.reject(new Error("acquire rejected"));
      return;
    }
    this.acquired += 1;
    acquire.key.acquiring -= 1;
    if (acquire.key.queue.length === 0) this.#leave(acquire.key);
    acquire.resolve(this.acquired);
  }

  #failAcquire(key: ModelKey): void {
    key.acquiring -= 1;
    this.model.finish(this.model.seal(key), () => "code ERR_BATCHER_ACQUIRE_FAILED");
    key.slots -= 1;
  }

  finishRelease(index: number, ok: boolean): void {
    const [release] = this.releasing.splice(index % this.releasing.length, 1);
    if (!release) return;
    release.key.slots -= 1;
    if (ok) release.resolve();
    else release.reject(new Error("release rejected"));
  }

  flush(key: string | undefined): void {
    const items = this.model.flush(key === undefined ? [...this.model.keys.keys()] : [key]);
    const flush = { items, done: false };
    this.flushes.push(flush);
    void (key === undefined ? this.batcher.flush() : this.batcher.flush(key)).then(() => {
      flush.done = true;
    });
  }

  close(timeoutMs: number | undefined): void {
    this.#inClose = true;
    const closed = this.batcher.close({ timeoutMs });
    this.#inClose = false;
    if (this.closed !== "no") return;
    this.closed = "pending";
    this.model.close();
    closed.then(
      () => {
        this.closed = "resolved";
      },
      (error: BatcherError) => {
        assert.equal(error.code, "ERR_BATCHER_DRAIN_TIMEOUT");
        this.closed = "rejected";
      },
    );
  }

  /** Runs every pending reaction, and compares. */
  async settle(): Promise<void> {
    await reactions();
    for (const body of this.#afterwards.splice(0)) body();
    this.check();
  }

  async turn(): Promise<void> {
    this.clock.runImmediates();
    await this.settle();
  }

  /** Completes every call, closes the batcher, and checks that nothing is left. */
  async drain(): Promise<void> {
    if (this.closed === "no") this.flush(undefined);
    for (let steps = 0; this.model.slots > 0 || this.model.outstanding.length > 0; steps += 1) {
      assert.ok(steps < 10_000, "the batcher runs dry");
      await this.turn();
      while (this.acquiring.length > 0) {
        this.finishAcquire(0, true);
        await this.settle();
      }
      while (this.running.length > 0) this.finish(0, "ok");
      await this.settle();
      while (this.releasing.length > 0) this.finishRelease(0, true);
      await this.settle();
      if (this.clock.pendingImmediates === 0) this.clock.fireNextTimer();
      if (this.clock.pendingImmediates === 0 && this.closed === "no") this.flush(undefined);
    }
    await this.turn();
    assert.equal(this.batcher.stats().keys, 0, "no key is left");
    assert.equal(this.clock.pendingImmediates, 0, "no hop is left");
    assert.equal(this.model.waiting.length, 0, "no add waits");
    assert.ok(this.model.items.every(({ state }) => state === "settled"));
    this.close(undefined);
    await this.settle();
    assert.notEqual(this.closed, "pending");
    assert.equal(this.clock.pendingTimers, 0, "no timer is left");
    if (this.options.releases) assert.equal(this.released, this.acquired, "released once each");
  }

  /** Notes a failed assertion, which the batcher would treat as a failed batch. */
  #noteFault<Result>(body: () => Result): Result {
    try {
      return body();
    } catch (error) {
      if (error instanceof assert.AssertionError) this.#fault ??= error;
      throw error;
    }
  }

  #setTimeout(callback: () => void, delayMs: number): unknown {
    assert.ok(this.#inClose || this.options.lingerMs > 0, "without lingerMs no timer is armed");
    const atTheEnd = this.#inClose;
    return this.clock.setTimeout(() => {
      if (atTheEnd) this.model.giveUp();
      callback();
    }, delayMs);
  }

  #acquire(name: string, signal: AbortSignal): Promise<number> {
    const key = this.model.key(name);
    this.#turn(key, undefined);
    key.acquiring += 1;
    if (this.throwNext === "acquire") {
      this.throwNext = undefined;
      this.#afterwards.push(() => this.#failAcquire(key));
      throw new Error("acquire threw");
    }
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.acquiring.push({ key, signal, resolve, reject });
    return promise;
  }

  #process(batch: SimBatch): Promise<unknown> {
    const key = this.model.key(batch.key);
    if (!this.options.acquires) this.#turn(key, batch.trigger);
    const items = this.model.seal(key);
    assert.deepEqual(
      batch.items.map(({ id }) => id),
      items.map(({ id }) => id),
      "a batch is the longest prefix of its key's queue",
    );
    assert.equal(batch.id, this.model.batches);
    assert.equal(
      batch.bytes,
      items.reduce((sum, { bytes }) => sum + bytes, 0),
    );
    assert.equal(batch.resource, this.options.acquires ? batch.resource : undefined);
    if (this.throwNext === "process") {
      this.throwNext = undefined;
      this.#afterwards.push(() => {
        this.model.finish(items, () => "code ERR_BATCHER_BATCH_FAILED");
        this.#leave(key);
      });
      throw new Error("process threw");
    }
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const { signal, resource } = batch;
    this.running.push({ key, items, signal, resource, resolve, reject });
    return promise;
  }

  #release(name: string): Promise<void> {
    this.released += 1;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.releasing.push({ key: this.model.key(name), resolve, reject });
    return promise;
  }

  /** A batch is settled: its slot is free, unless its resource must be released first. */
  #leave(key: ModelKey): void {
    if (!(this.options.acquires && this.options.releases)) key.slots -= 1;
  }

  #turn(key: ModelKey, trigger: string | undefined): void {
    if (trigger) assert.ok(this.model.mayStart(key, trigger), `${key.name} starts by ${trigger}`);
    key.slots += 1;
    this.#turnsOfOthers.delete(key.name);
    for (const [waiting, turns] of this.#turnsOfOthers) {
      const count = (turns.get(key.name) ?? 0) + 1;
      turns.set(key.name, count);
      assert.ok(count <= 1, `${key.name} has a second turn while ${waiting} waits for its first`);
    }
  }

  check(): void {
    if (this.#fault) throw this.#fault;
    const { model, options, clock } = this;
    for (const item of model.items as Added[]) {
      assert.equal(item.actual, item.expected, `item ${item.id} (${item.state})`);
    }
    const { outstanding, slots } = model;
    const keys = [...model.keys.values()];
    const queued = outstanding.filter(({ state }) => state === "queued").length;
    assert.deepEqual(this.batcher.stats(), {
      keys: keys.filter((key) => key.queue.length > 0 || key.slots > 0).length,
      queued,
      inFlight: outstanding.length - queued,
      bytes: outstanding.reduce((sum, { bytes }) => sum + bytes, 0),
      waiting: model.waiting.length,
      batchesInFlight: slots,
      acquiring: keys.reduce((sum, { acquiring }) => sum + acquiring, 0),
      ...model.totals,
      batches: model.batches,
    });
    assert.ok(slots <= options.concurrency && outstanding.length <= options.maxItems);
    assert.ok(keys.every((key) => key.slots <= options.keyConcurrency));
    this.#checkTurns(keys, clock.now());
    for (const { items, done } of this.flushes) {
      assert.equal(
        done,
        items.every(({ state }) => state === "settled"),
        "flush",
      );
    }
    for (const { items, signal } of this.running) {
      assert.equal(signal.aborted, model.gaveUp || items.every(({ aborted }) => aborted), "signal");
    }
    for (const { signal } of this.acquiring) assert.equal(signal?.aborted, model.gaveUp);
    if (this.closed === "pending" || this.closed === "resolved") {
      const empty = outstanding.length === 0 && slots === 0;
      assert.equal(this.closed === "resolved", empty, "close resolves when nothing is left");
    }
  }

  /** Checks that no wake-up is lost and that no key has two turns while another waits. */
  #checkTurns(keys: readonly ModelKey[], now: number): void {
    const ready = keys.filter((key) => this.model.mustStart(key, now));
    if (ready.length > 0 && this.model.slots < this.options.concurrency) {
      assert.equal(this.clock.pendingImmediates, 1, `${ready[0]?.name} is runnable, a hop is due`);
    }
    for (const name of [...this.#turnsOfOthers.keys()]) {
      if (!ready.some((key) => key.name === name)) this.#turnsOfOthers.delete(name);
    }
    for (const { name } of ready) {
      if (!this.#turnsOfOthers.has(name)) this.#turnsOfOthers.set(name, new Map());
    }
  }
}
