/**
 * Thousands of random histories of a batcher, each a pure function of its seed, compared step by
 * step with a plain model. A failing run prints its seed and the shortest history that fails.
 *
 * Environment: BATCHER_RUNS is the number of histories, BATCHER_SEED repeats a run.
 */
import { test } from "node:test";
import fc from "fast-check";
import { type Ending, type HarnessOptions, SimulationHarness } from "./harness.ts";

const infinity = fc.constant(Number.POSITIVE_INFINITY);

const optionSets: fc.Arbitrary<HarnessOptions> = fc
  .record({
    seed: fc.nat(),
    maxBatchItems: fc.integer({ min: 1, max: 4 }),
    maxBatchBytes: fc.oneof(infinity, fc.constant(50)),
    keyConcurrency: fc.integer({ min: 1, max: 3 }),
    concurrency: fc.integer({ min: 1, max: 4 }),
    minBatchItems: fc.integer({ min: 1, max: 4 }),
    lingerMs: fc.oneof(fc.constant(0), fc.constant(10)),
    holdUntilFull: fc.boolean(),
    maxItems: fc.integer({ min: 4, max: 12 }),
    maxItemsPerKey: fc.integer({ min: 1, max: 12 }),
    maxBytes: fc.oneof(infinity, fc.constant(150)),
    onFull: fc.constantFrom("reject" as const, "wait" as const),
    acquires: fc.boolean(),
    releases: fc.boolean(),
    hooksThrow: fc.boolean(),
  })
  .map((harness) => ({
    ...harness,
    releases: harness.acquires && harness.releases,
    minBatchItems: Math.min(harness.minBatchItems, harness.maxBatchItems),
    maxItemsPerKey: Math.min(harness.maxItemsPerKey, harness.maxItems),
    maxBatchBytes: Math.min(harness.maxBatchBytes, harness.maxBytes),
  }));

type Model = Record<string, never>;

/** An event of a history; without effect where it is impossible. */
class Event implements fc.AsyncCommand<Model, SimulationHarness> {
  readonly name: string;
  readonly happen: (harness: SimulationHarness) => void;

  constructor(name: string, happen: (harness: SimulationHarness) => void) {
    this.name = name;
    this.happen = happen;
  }

  check(): boolean {
    return true;
  }

  async run(_: Model, harness: SimulationHarness): Promise<void> {
    this.happen(harness);
    await harness.settle();
  }

  toString(): string {
    return this.name;
  }
}

const keys = fc.constantFrom("a", "b", "c", "d");
const index = fc.nat(20);
const endings = fc.constantFrom<Ending>("ok", "one fails", "reject", "short", "long", "no array");
const timeouts = fc.oneof(fc.constant(undefined), fc.constant(15));

const adds = fc.tuple(keys, fc.nat(60), fc.boolean());
const add = adds.map(([key, bytes, abortable]) => {
  return new Event(`add(${key}, ${bytes})`, (harness) => harness.add(key, bytes, abortable));
});
const turn = fc.constant(new Event("turn", (harness) => harness.clock.runImmediates()));
const finish = fc.tuple(index, endings).map(([at, ending]) => {
  return new Event(`finish(${at}, ${ending})`, (harness) => harness.finish(at, ending));
});
const acquired = fc.tuple(index, fc.boolean()).map(([at, ok]) => {
  return new Event(`acquired(${at}, ${ok})`, (harness) => harness.finishAcquire(at, ok));
});
const released = fc.tuple(index, fc.boolean()).map(([at, ok]) => {
  return new Event(`released(${at}, ${ok})`, (harness) => harness.finishRelease(at, ok));
});
const abort = index.map((at) => new Event(`abort(${at})`, (harness) => harness.abort(at)));
const throws = fc.constantFrom("process" as const, "acquire" as const).map((what) => {
  return new Event(`the next ${what} throws`, (harness) => {
    harness.throwNext = what;
  });
});
const advance = fc.integer({ min: 1, max: 12 }).map((ms) => {
  return new Event(`advance(${ms})`, (harness) => harness.clock.advance(ms));
});
const early = fc.constant(
  new Event("a timer fires early", (harness) => {
    harness.clock.fireNextTimer(0.9);
  }),
);
const flush = fc.option(keys, { nil: undefined }).map((key) => {
  return new Event(`flush(${key ?? ""})`, (harness) => harness.flush(key));
});
const close = timeouts.map((ms) => new Event(`close(${ms ?? ""})`, (harness) => harness.close(ms)));

/** Events with the relative frequency at which they are drawn. */
const events: [number, fc.Arbitrary<Event>][] = [
  [12, add],
  [8, turn],
  [6, finish],
  [4, acquired],
  [3, released],
  [3, abort],
  [3, advance],
  [2, early],
  [2, throws],
  [2, flush],
  [1, close],
];
const histories = fc.commands(
  events.flatMap(([weight, event]) => Array.from({ length: weight }, () => event)),
  { maxCommands: 60, size: "max" },
);

test("random histories of events match the model step by step", async (t) => {
  t.mock.method(process, "emitWarning", () => {});
  await fc.assert(
    fc.asyncProperty(optionSets, histories, async (options, history) => {
      const harness = new SimulationHarness(options);
      await fc.asyncModelRun(() => ({ model: {}, real: harness }), history);
      await harness.drain();
    }),
    {
      numRuns: Number(process.env.BATCHER_RUNS ?? 2000),
      ...(process.env.BATCHER_SEED && { seed: Number(process.env.BATCHER_SEED) }),
    },
  );
});
