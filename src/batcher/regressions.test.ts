/**
 * Faults of other batchers, fixed or not. Each test is a history that shows one of them.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { assertCode, BatcherHarness } from "../../test/support/batcher-harness.ts";
import { Batcher, BatcherError, policies } from "./index.ts";

const door = new URL("./index.ts", import.meta.url).href;

/** Runs a program that has `Batcher` in scope, and returns its output. */
function program(body: string, ...flags: string[]) {
  const script = `import { Batcher } from ${JSON.stringify(door)};\n${body}`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [...flags, "--input-type=module", "-e", script],
    { encoding: "utf8", timeout: 30_000 },
  );
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

/** Runs `count` clients, each adding its next item as soon as the last is settled. */
async function closedLoop(
  harness: BatcherHarness,
  count: number,
  again: (next: () => void) => void,
) {
  const client = () => {
    void harness.batcher.add("a", "item").then(() => again(client));
  };
  for (let index = 0; index < count; index += 1) {
    client();
    if (index === 0) await harness.turn();
  }
  await harness.advance(200);
  return harness.batches.slice(2).map(({ items }) => items.length);
}

test("32 clients in a closed loop fill batches of 32, not of 1 and 31 in turn", async () => {
  const sizes = await closedLoop(new BatcherHarness({ workMs: 5 }), 32, (next) => next());
  assert.ok(sizes.length > 30);
  assert.deepEqual(new Set(sizes), new Set([32]));
});

test("32 clients behind further awaits fill batches of 32", async () => {
  const sizes = await closedLoop(new BatcherHarness({ workMs: 5 }), 32, (next) => {
    void Promise.resolve().then(() => Promise.resolve().then(() => Promise.resolve().then(next)));
  });
  assert.deepEqual(new Set(sizes), new Set([32]));
});

test("32 clients that add from the next macrotask fill batches of 32", async () => {
  const harness = new BatcherHarness({ workMs: 5 });
  const sizes = await closedLoop(harness, 32, (next) => harness.clock.setImmediate(next));
  assert.deepEqual(new Set(sizes), new Set([32]));
});

test("32 clients that add from the next macrotask after awaits fill batches of 32", async () => {
  const harness = new BatcherHarness({ workMs: 5 });
  const sizes = await closedLoop(harness, 32, (next) => {
    const soon = Promise.resolve().then(() => Promise.resolve().then(() => Promise.resolve()));
    void soon.then(() => harness.clock.setImmediate(next));
  });
  assert.deepEqual(new Set(sizes), new Set([32]));
});

test("policies.duration with batches of one does not wait", async () => {
  const harness = new BatcherHarness({
    ...policies.duration(100, { maxBatchItems: 1 }),
    workMs: 1,
  });
  const added = harness.add("a", 1);
  await harness.run();
  assert.equal(added.settledAtMs, 1);
});

test("policies.balanced does not acquire for an item that an acquiring batch covers", async () => {
  let acquired = 0;
  const harness = new BatcherHarness({
    ...policies.balanced(2),
    maxBatchItems: 2,
    acquire: () => {
      acquired += 1;
      return new Promise<never>(() => {});
    },
  });
  harness.add("a", 1);
  await harness.turn();
  harness.add("a", 2);
  await harness.turn();
  harness.add("a", 3);
  await harness.turn();
  assert.equal(acquired, 1, "the third item is alone beside the full batch: below the minimum");
});

test("an item that arrives during acquire on a busy key joins the batch", async () => {
  const harness = new BatcherHarness({
    workMs: 10,
    acquire: () => new Promise((resolve) => harness.clock.setTimeout(() => resolve("r"), 50)),
  });
  harness.add("a", 1);
  await harness.advance(55);
  harness.add("a", 2);
  await harness.advance(25);
  harness.add("a", 3);
  await harness.run();
  assert.deepEqual(harness.sealed, [[1], [2, 3]]);
});

test("stats() is exact at every step of serial load", async () => {
  const harness = new BatcherHarness({ acquire: () => "r", release: () => {} });
  const gauges = () => {
    const { keys, queued, inFlight, batchesInFlight, acquiring } = harness.batcher.stats();
    return { keys, queued, inFlight, batchesInFlight, acquiring };
  };
  const idle = { keys: 0, queued: 0, inFlight: 0, batchesInFlight: 0, acquiring: 0 };
  assert.deepEqual(gauges(), idle);
  harness.add("a", 1);
  assert.deepEqual(gauges(), { ...idle, keys: 1, queued: 1 });
  harness.clock.runImmediates();
  assert.deepEqual(gauges(), { ...idle, keys: 1, queued: 1, batchesInFlight: 1, acquiring: 1 });
  await harness.turn();
  assert.deepEqual(gauges(), { ...idle, keys: 1, inFlight: 1, batchesInFlight: 1 });
  harness.batches[0]?.finish();
  await harness.run();
  assert.deepEqual(gauges(), idle);
});

test("a hook that throws fails neither the current item nor later ones", async (t) => {
  t.mock.method(process, "emitWarning", () => {});
  const harness = new BatcherHarness({
    workMs: 1,
    hooks: {
      onBatchEnd: () => {
        throw new Error("metrics are down");
      },
    },
  });
  for (const item of [1, 2]) {
    const added = harness.add("a", item);
    await harness.run();
    assert.equal(added.value, item);
  }
});

test("several slots freed at once are all used at once", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 1, keyConcurrency: 3 });
  harness.addMany("a", [1, 2, 3, 4, 5, 6]);
  await harness.turn();
  for (const batch of harness.batches.slice(0, 3)) batch.finish();
  await harness.turn();
  assert.deepEqual(harness.sealed.flat(), [1, 2, 3, 4, 5, 6]);
});

test("a slot freed while the last batch settles is used again", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 1, concurrency: 1 });
  harness.addMany("a", [1, 2]);
  harness.add("b", 3);
  for (let turns = 0; turns < 3; turns += 1) {
    await harness.turn();
    harness.batches.at(-1)?.finish();
  }
  await harness.run();
  assert.equal(harness.batches.length, 3);
});

test("acquiring and processing count against the same limit", async () => {
  let resources = 0;
  let maxResources = 0;
  const harness = new BatcherHarness({
    keyConcurrency: 2,
    maxBatchItems: 1,
    workMs: 5,
    acquire: () => {
      resources += 1;
      maxResources = Math.max(maxResources, resources);
      return new Promise((resolve) => harness.clock.setTimeout(() => resolve("r"), 3));
    },
    release: () => {
      resources -= 1;
    },
  });
  harness.addMany("a", [1, 2, 3, 4, 5]);
  await harness.run();
  assert.deepEqual([maxResources, resources], [2, 0]);
});

test("lingerMs is no debounce: steady arrivals do not delay a batch", async () => {
  const harness = new BatcherHarness({ lingerMs: 50, workMs: 1 });
  for (let at = 0; at < 200; at += 20) {
    harness.add("a", at);
    await harness.advance(20);
  }
  assert.deepEqual(harness.batches[0]?.startedAtMs, 50);
});

test("lingerMs is no rate limit: after a quiet time an item waits lingerMs at most", async () => {
  const harness = new BatcherHarness({ lingerMs: 10, workMs: 1 });
  harness.add("a", 1);
  await harness.run();
  harness.clock.advance(500);
  const added = harness.add("a", 2);
  await harness.run();
  assert.equal(added.settledAtMs, 500 + 11 + 11);
});

test("the caller that fills a batch gets its own output, like every other caller", async () => {
  const harness = new BatcherHarness({ ...policies.size(3), workMs: 1 });
  const added = harness.addMany("a", [1, 2, 3]);
  await harness.run();
  assert.deepEqual(
    added.map(({ value }) => value),
    [1, 2, 3],
  );
});

test("a failed batch that a timer started causes no unhandled rejection", async (t) => {
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", onUnhandled);
  t.after(() => process.off("unhandledRejection", onUnhandled));
  const harness = new BatcherHarness({
    lingerMs: 10,
    acquire: () => "r",
    release: () => Promise.reject(),
  });
  t.mock.method(process, "emitWarning", () => {});
  const added = harness.add("a", 1);
  await harness.advance(10);
  harness.batches[0]?.fail(new Error("no"));
  await harness.run();
  await new Promise((resolve) => setImmediate(resolve));
  assertCode(added, "ERR_BATCHER_BATCH_FAILED");
  assert.deepEqual(unhandled, []);
});

test("concurrency 4 bounds 50 possible batches", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 1, keyConcurrency: 50, concurrency: 4 });
  harness.addMany(
    "a",
    Array.from({ length: 50 }, (_, index) => index),
  );
  await harness.turn();
  assert.equal(harness.batches.length, 4);
});

test("an error thrown by process rejects the item, not the program", async () => {
  const batcher = new Batcher<string, number, number>({
    process: () => {
      throw new Error("synchronous");
    },
  });
  await assert.rejects(batcher.add("a", 1), BatcherError);
});

test("memory does not grow with items added and aborted on a busy key", () => {
  const rounds = 10;
  const items = 10_000;
  const used = program(
    `
    const batcher = new Batcher({ process: () => new Promise(() => {}) });
    const round = (count) => {
      for (let index = 0; index < count; index += 1) {
        const controller = new AbortController();
        batcher.add("a", { index }, { signal: controller.signal }).catch(() => {});
        controller.abort();
      }
    };
    // Rejections, and finalizers of the first collection, run in turns of their own.
    const heap = async () => {
      for (let times = 0; times < 2; times += 1) {
        await new Promise((resolve) => setImmediate(resolve));
        gc();
      }
      return process.memoryUsage().heapUsed;
    };
    batcher.add("a", 0);
    const figures = [];
    for (let rounds = 0; rounds <= ${rounds}; rounds += 1) {
      round(${items});
      figures.push(await heap());
    }
    console.log(figures.join(), batcher.stats().queued);
    process.exit(0);
    `,
    "--expose-gc",
  );
  const [figures = "", queued] = used.split(" ");
  const heap = figures.split(",").map(Number);
  assert.equal(heap.length, rounds + 1);
  // Memory left by items grows in every round; compiled code and caches grow in some.
  const growth = heap.slice(1).map((bytes, index) => bytes - heap[index]!);
  const [least = Number.NaN] = growth.toSorted((a, b) => a - b);
  assert.ok(
    least / items < 8,
    `bytes an item leaves behind, by round: ${growth.join()} / ${items}`,
  );
  assert.equal(queued, "0");
});

test("an idle batcher lets the process end, an unsettled item keeps it running", () => {
  const printed = program(`
    const options = { lingerMs: 30, process: ({ items }) => items };
    const idle = new Batcher(options);
    await idle.add("a", 1);
    const busy = new Batcher(options);
    busy.add("a", 2).then((output) => console.log("settled", output));
  `);
  assert.equal(printed, "settled 2");
});

test("with the real clock a lone item waits for no timer", async () => {
  const batcher = new Batcher<string, number, number>({ process: ({ items }) => items });
  const turns: string[] = [];
  const added = batcher.add("a", 1).then(() => turns.push("settled"));
  await new Promise<void>((resolve) => {
    setImmediate(() => {
      setImmediate(() => {
        turns.push("two turns later");
        resolve();
      });
    });
  });
  await added;
  assert.deepEqual(turns, ["settled", "two turns later"]);
});
