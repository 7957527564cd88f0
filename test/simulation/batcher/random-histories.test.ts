/**
 * Thousands of random histories of a batcher, each a pure function of its seed, compared step by step
 * with a plain model. A failing run prints its seed and the shortest history that fails.
 */
import { test } from "node:test";
import fc from "fast-check";
import { BatcherWorld, type Ending, type WorldOptions } from "./harness.ts";

const infinity = fc.constant(Number.POSITIVE_INFINITY);

const worlds: fc.Arbitrary<WorldOptions> = fc
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
  .map((world) => ({
    ...world,
    releases: world.acquires && world.releases,
    minBatchItems: Math.min(world.minBatchItems, world.maxBatchItems),
    maxItemsPerKey: Math.min(world.maxItemsPerKey, world.maxItems),
    maxBatchBytes: Math.min(world.maxBatchBytes, world.maxBytes),
  }));

type Model = Record<string, never>;

/** Something that happens to the batcher; skipped where it cannot happen. */
class Event implements fc.AsyncCommand<Model, BatcherWorld> {
  readonly name: string;
  readonly happen: (world: BatcherWorld) => void;

  constructor(name: string, happen: (world: BatcherWorld) => void) {
    this.name = name;
    this.happen = happen;
  }

  check(): boolean {
    return true;
  }

  async run(_: Model, world: BatcherWorld): Promise<void> {
    this.happen(world);
    await world.settle();
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
  return new Event(`add(${key}, ${bytes})`, (world) => world.add(key, bytes, abortable));
});
const turn = fc.constant(new Event("turn", (world) => world.clock.runImmediates()));
const finish = fc.tuple(index, endings).map(([at, ending]) => {
  return new Event(`finish(${at}, ${ending})`, (world) => world.finish(at, ending));
});
const acquired = fc.tuple(index, fc.boolean()).map(([at, ok]) => {
  return new Event(`acquired(${at}, ${ok})`, (world) => world.finishAcquire(at, ok));
});
const released = fc.tuple(index, fc.boolean()).map(([at, ok]) => {
  return new Event(`released(${at}, ${ok})`, (world) => world.finishRelease(at, ok));
});
const abort = index.map((at) => new Event(`abort(${at})`, (world) => world.abort(at)));
const throws = fc.constantFrom("process" as const, "acquire" as const).map((what) => {
  return new Event(`the next ${what} throws`, (world) => {
    world.throwNext = what;
  });
});
const advance = fc.integer({ min: 1, max: 12 }).map((ms) => {
  return new Event(`advance(${ms})`, (world) => world.clock.advance(ms));
});
const early = fc.constant(
  new Event("a timer fires early", (world) => {
    world.clock.fireNextTimer(0.9);
  }),
);
const flush = fc.option(keys, { nil: undefined }).map((key) => {
  return new Event(`flush(${key ?? ""})`, (world) => world.flush(key));
});
const close = timeouts.map((ms) => new Event(`close(${ms ?? ""})`, (world) => world.close(ms)));

/** The number says how often an event is drawn, compared with the others. */
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

test("whatever happens in whatever order, the batcher keeps every rule", async (t) => {
  t.mock.method(process, "emitWarning", () => {});
  await fc.assert(
    fc.asyncProperty(worlds, histories, async (options, history) => {
      const world = new BatcherWorld(options);
      await fc.asyncModelRun(() => ({ model: {}, real: world }), history);
      await world.drain();
    }),
    {
      numRuns: Number(process.env.BATCHER_RUNS ?? 2000),
      ...(process.env.BATCHER_SEED && { seed: Number(process.env.BATCHER_SEED) }),
    },
  );
});
