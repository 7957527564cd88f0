/**
 * Faults that other batchers had, or have. Each test is the history that shows one.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { assertCode, BatcherLab } from "../../test/support/batcher-harness.ts";
import { Batcher, BatcherError, policies } from "./index.ts";

const door = new URL("./index.ts", import.meta.url).href;

/** Runs a program that has `Batcher` in scope, and returns what it printed. */
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

/** `count` clients that hand in their next item as soon as the last is done. */
async function closedLoop(lab: BatcherLab, count: number, again: (next: () => void) => void) {
  const client = () => {
    void lab.batcher.add("a", "item").then(() => again(client));
  };
  for (let index = 0; index < count; index += 1) {
    client();
    if (index === 0) await lab.turn();
  }
  await lab.advance(200);
  return lab.batches.slice(2).map(({ items }) => items.length);
}

test("32 clients in a closed loop fill batches of 32, not of 1 and 31 by turns", async () => {
  const sizes = await closedLoop(new BatcherLab({ workMs: 5 }), 32, (next) => next());
  assert.ok(sizes.length > 30);
  assert.deepEqual(new Set(sizes), new Set([32]));
});

test("32 clients behind further awaits fill batches of 32 too", async () => {
  const sizes = await closedLoop(new BatcherLab({ workMs: 5 }), 32, (next) => {
    void Promise.resolve().then(() => Promise.resolve().then(() => Promise.resolve().then(next)));
  });
  assert.deepEqual(new Set(sizes), new Set([32]));
});

test("32 clients that hand in from the next macrotask fill batches of 32 too", async () => {
  const lab = new BatcherLab({ workMs: 5 });
  const sizes = await closedLoop(lab, 32, (next) => lab.clock.setImmediate(next));
  assert.deepEqual(new Set(sizes), new Set([32]));
});

test("32 clients that do so behind further awaits fill batches of 32 too", async () => {
  const lab = new BatcherLab({ workMs: 5 });
  const sizes = await closedLoop(lab, 32, (next) => {
    const soon = Promise.resolve().then(() => Promise.resolve().then(() => Promise.resolve()));
    void soon.then(() => lab.clock.setImmediate(next));
  });
  assert.deepEqual(new Set(sizes), new Set([32]));
});

test("Duration with batches of one does not wait", async () => {
  const lab = new BatcherLab({ ...policies.duration(100, { maxBatchItems: 1 }), workMs: 1 });
  const added = lab.add("a", 1);
  await lab.run();
  assert.equal(added.settledAt, 1);
});

test("Balanced does not acquire for a lone item while a batch it could join is acquiring", async () => {
  let acquired = 0;
  const lab = new BatcherLab({
    ...policies.balanced(2),
    maxBatchItems: 2,
    acquire: () => {
      acquired += 1;
      return new Promise<never>(() => {});
    },
  });
  lab.add("a", 1);
  await lab.turn();
  lab.add("a", 2);
  await lab.turn();
  lab.add("a", 3);
  await lab.turn();
  assert.equal(acquired, 1, "the third is one item beside the full batch: below the minimum");
});

test("an item that arrives during the acquire of a busy key shares the batch", async () => {
  const lab = new BatcherLab({
    workMs: 10,
    acquire: () => new Promise((resolve) => lab.clock.setTimeout(() => resolve("r"), 50)),
  });
  lab.add("a", 1);
  await lab.advance(55);
  lab.add("a", 2);
  await lab.advance(25);
  lab.add("a", 3);
  await lab.run();
  assert.deepEqual(lab.sealed, [[1], [2, 3]]);
});

test("gauges tell the truth at every step of serial load", async () => {
  const lab = new BatcherLab({ acquire: () => "r", release: () => {} });
  const gauges = () => {
    const { keys, queued, inFlight, batchesInFlight, acquiring } = lab.batcher.stats();
    return { keys, queued, inFlight, batchesInFlight, acquiring };
  };
  const idle = { keys: 0, queued: 0, inFlight: 0, batchesInFlight: 0, acquiring: 0 };
  assert.deepEqual(gauges(), idle);
  lab.add("a", 1);
  assert.deepEqual(gauges(), { ...idle, keys: 1, queued: 1 });
  lab.clock.runImmediates();
  assert.deepEqual(gauges(), { ...idle, keys: 1, queued: 1, batchesInFlight: 1, acquiring: 1 });
  await lab.turn();
  assert.deepEqual(gauges(), { ...idle, keys: 1, inFlight: 1, batchesInFlight: 1 });
  lab.batches[0]?.finish();
  await lab.run();
  assert.deepEqual(gauges(), idle);
});

test("a hook that throws harms neither the item under way nor those after it", async (t) => {
  t.mock.method(process, "emitWarning", () => {});
  const lab = new BatcherLab({
    workMs: 1,
    hooks: {
      onBatchEnd: () => {
        throw new Error("metrics are down");
      },
    },
  });
  for (const item of [1, 2]) {
    const added = lab.add("a", item);
    await lab.run();
    assert.equal(added.value, item);
  }
});

test("several slots freed at once are all used again at once", async () => {
  const lab = new BatcherLab({ maxBatchItems: 1, keyConcurrency: 3 });
  lab.addMany("a", [1, 2, 3, 4, 5, 6]);
  await lab.turn();
  for (const batch of lab.batches.slice(0, 3)) batch.finish();
  await lab.turn();
  assert.deepEqual(lab.sealed.flat(), [1, 2, 3, 4, 5, 6]);
});

test("a slot freed while the last batch is handed out is not forgotten", async () => {
  const lab = new BatcherLab({ maxBatchItems: 1, concurrency: 1 });
  lab.addMany("a", [1, 2]);
  lab.add("b", 3);
  for (let turns = 0; turns < 3; turns += 1) {
    await lab.turn();
    lab.batches.at(-1)?.finish();
  }
  await lab.run();
  assert.equal(lab.batches.length, 3);
});

test("acquiring and processing count against one limit", async () => {
  let resources = 0;
  let most = 0;
  const lab = new BatcherLab({
    keyConcurrency: 2,
    maxBatchItems: 1,
    workMs: 5,
    acquire: () => {
      resources += 1;
      most = Math.max(most, resources);
      return new Promise((resolve) => lab.clock.setTimeout(() => resolve("r"), 3));
    },
    release: () => {
      resources -= 1;
    },
  });
  lab.addMany("a", [1, 2, 3, 4, 5]);
  await lab.run();
  assert.deepEqual([most, resources], [2, 0]);
});

test("linger is not a debounce: steady arrivals do not put it off", async () => {
  const lab = new BatcherLab({ lingerMs: 50, workMs: 1 });
  for (let at = 0; at < 200; at += 20) {
    lab.add("a", at);
    await lab.advance(20);
  }
  assert.deepEqual(lab.batches[0]?.startedAt, 50);
});

test("linger is not a rate limit: after a quiet time nobody waits longer than lingerMs", async () => {
  const lab = new BatcherLab({ lingerMs: 10, workMs: 1 });
  lab.add("a", 1);
  await lab.run();
  lab.clock.advance(500);
  const added = lab.add("a", 2);
  await lab.run();
  assert.equal(added.settledAt, 500 + 11 + 11);
});

test("the caller who fills a batch gets its own output, and so does everyone else", async () => {
  const lab = new BatcherLab({ ...policies.size(3), workMs: 1 });
  const added = lab.addMany("a", [1, 2, 3]);
  await lab.run();
  assert.deepEqual(
    added.map(({ value }) => value),
    [1, 2, 3],
  );
});

test("a batch that a timer started and that fails is no unhandled rejection", async (t) => {
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", onUnhandled);
  t.after(() => process.off("unhandledRejection", onUnhandled));
  const lab = new BatcherLab({ lingerMs: 10, acquire: () => "r", release: () => Promise.reject() });
  t.mock.method(process, "emitWarning", () => {});
  const added = lab.add("a", 1);
  await lab.advance(10);
  lab.batches[0]?.fail(new Error("no"));
  await lab.run();
  await new Promise((resolve) => setImmediate(resolve));
  assertCode(added, "ERR_BATCHER_BATCH_FAILED");
  assert.deepEqual(unhandled, []);
});

test("50 keys or chunks are not 50 batches at a time", async () => {
  const lab = new BatcherLab({ maxBatchItems: 1, keyConcurrency: 50, concurrency: 4 });
  lab.addMany(
    "a",
    Array.from({ length: 50 }, (_, index) => index),
  );
  await lab.turn();
  assert.equal(lab.batches.length, 4);
});

test("a throw in process does not reach the process", async () => {
  const batcher = new Batcher<string, number, number>({
    process: () => {
      throw new Error("synchronous");
    },
  });
  await assert.rejects(batcher.add("a", 1), BatcherError);
});

test("a hundred thousand items added and aborted on a busy key leave no memory behind", () => {
  const used = program(
    `
    const batcher = new Batcher({
      process: () => new Promise(() => {}),
      maxItems: 200_000,
      maxItemsPerKey: 200_000,
    });
    const round = (count) => {
      for (let index = 0; index < count; index += 1) {
        const controller = new AbortController();
        batcher.add("a", { index }, { signal: controller.signal }).catch(() => {});
        controller.abort();
      }
    };
    const settled = () => new Promise((resolve) => setTimeout(resolve, 10));
    batcher.add("a", 0);
    await settled();
    round(1000);
    await settled();
    gc();
    const before = process.memoryUsage().heapUsed;
    for (let rounds = 0; rounds < 10; rounds += 1) {
      round(10_000);
      await settled();
    }
    gc();
    console.log(process.memoryUsage().heapUsed - before, batcher.stats().queued);
    process.exit(0);
    `,
    "--expose-gc",
  );
  const [bytes, queued] = used.split(" ").map(Number);
  assert.ok((bytes ?? Number.NaN) < 2_000_000, `${bytes} bytes more than before`);
  assert.equal(queued, 0);
});

test("an idle batcher does not keep the process alive, an unsettled item does", () => {
  const printed = program(`
    const options = { lingerMs: 30, process: ({ items }) => items };
    const idle = new Batcher(options);
    await idle.add("a", 1);
    const busy = new Batcher(options);
    busy.add("a", 2).then((output) => console.log("settled", output));
  `);
  assert.equal(printed, "settled 2");
});

test("with the machine's own clock a lone item is not kept waiting for a timer", async () => {
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
