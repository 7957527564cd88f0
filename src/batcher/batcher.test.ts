/** The rules of batching: hops, limits of a batch, slots, order, outcomes of items. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCode, BatcherHarness } from "../../test/support/batcher-harness.ts";
import { Batcher, BatcherError, fail } from "./index.ts";

test("items added in one turn travel in one batch, and each gets its own output", async () => {
  const harness = new BatcherHarness();
  const added = harness.addMany("a", [1, 2, 3]);
  assert.equal(harness.batches.length, 0, "add does not start process");
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1, 2, 3]]);
  harness.batches[0]?.finish(["one", "two", "three"]);
  await harness.run();
  assert.deepEqual(
    added.map(({ value }) => value),
    ["one", "two", "three"],
  );
});

test("an item on an idle batcher starts in the next hop, without a timer", async () => {
  const harness = new BatcherHarness();
  harness.add("a", 1);
  assert.equal(harness.clock.pendingImmediates, 1);
  assert.equal(harness.clock.pendingTimers, 0);
  await harness.turn();
  assert.equal(harness.batches.length, 1);
});

test("items that arrive while a batch is processed are the next batch", async () => {
  const harness = new BatcherHarness();
  harness.add("a", 1);
  await harness.turn();
  harness.addMany("a", [2, 3]);
  await harness.turn();
  harness.add("a", 4);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1]]);
  harness.batches[0]?.finish();
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1], [2, 3, 4]]);
  assert.deepEqual(
    harness.batches.map(({ trigger }) => trigger),
    ["idle", "finish"],
  );
});

test("an add from a reaction to a settled item joins the next batch", async () => {
  const harness = new BatcherHarness();
  const [first, second] = harness.addMany("a", [1, 2]);
  void first?.promise.then(() => harness.add("a", 3));
  void second?.promise.then(() => Promise.resolve().then(() => harness.add("a", 4)));
  await harness.turn();
  harness.batches[0]?.finish();
  await harness.turn();
  assert.deepEqual(harness.sealed, [
    [1, 2],
    [3, 4],
  ]);
});

test("an add from within process waits for a hop like every add", async () => {
  const harness = new BatcherHarness({
    keyConcurrency: 2,
    process: ({ items }) => {
      seen.push([...items]);
      if (items.includes(1)) harness.addMany("a", [2, 3]);
      return items;
    },
  });
  const seen: unknown[][] = [];
  harness.add("a", 1);
  await harness.turn();
  assert.deepEqual(seen, [[1]]);
  await harness.run();
  assert.deepEqual(seen, [[1], [2, 3]]);
});

test("a batch has at most maxBatchItems, and every item gets a batch", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 10, workMs: 1 });
  harness.addMany(
    "a",
    Array.from({ length: 25 }, (_, index) => index),
  );
  await harness.run();
  assert.deepEqual(
    harness.batches.map(({ items }) => items.length),
    [10, 10, 5],
  );
  assert.equal(harness.batcher.stats().keys, 0);
});

test("a batch has at most maxBatchBytes; the items left behind start at once", async () => {
  const harness = new BatcherHarness({ maxBatchBytes: 100, sizeOf: Number, keyConcurrency: 2 });
  harness.addMany("a", [60, 60, 40]);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[60], [60, 40]]);
  assert.deepEqual(
    harness.batches.map(({ batch }) => batch.bytes),
    [60, 100],
  );
});

test("an item larger than maxBatchBytes goes alone", async () => {
  const harness = new BatcherHarness({ maxBatchBytes: 100, sizeOf: Number, workMs: 1 });
  harness.addMany("a", [10, 500, 20]);
  await harness.run();
  assert.deepEqual(harness.sealed, [[10], [500], [20]]);
});

test("keyConcurrency bounds the batches of a key, concurrency those of all keys", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 1, keyConcurrency: 2, concurrency: 3 });
  harness.addMany("a", [1, 2, 3]);
  harness.addMany("b", [4, 5, 6]);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1], [4], [2]]);
  assert.equal(harness.batcher.stats().batchesInFlight, 3);
});

test("slots go round the keys: a flooded key delays no other", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 1, concurrency: 1, workMs: 1 });
  harness.addMany("flood", [1, 2, 3, 4]);
  harness.addMany("b", [5, 6]);
  harness.add("c", 7);
  await harness.run();
  const keys = harness.batches.map(({ key }) => key);
  assert.deepEqual(keys, ["flood", "b", "c", "flood", "b", "flood", "flood"]);
});

test("items of one key are sealed in the order of acceptance", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 3, keyConcurrency: 3 });
  harness.addMany("a", [1, 2, 3, 4, 5, 6, 7]);
  await harness.turn();
  harness.batches[2]?.finish();
  harness.batches[0]?.finish();
  await harness.run();
  assert.deepEqual(harness.sealed.flat(), [1, 2, 3, 4, 5, 6, 7]);
});

test("minBatchItems applies to additional slots only", async () => {
  const harness = new BatcherHarness({ minBatchItems: 3, keyConcurrency: 2 });
  harness.add("a", 1);
  await harness.turn();
  harness.addMany("a", [2, 3]);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1]]);
  harness.add("a", 4);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1], [2, 3, 4]]);
  assert.equal(harness.batches[1]?.trigger, "min");
});

test("an additional slot is not opened if its items were cancelled before its turn", async () => {
  const harness = new BatcherHarness({ minBatchItems: 2, keyConcurrency: 2 });
  harness.add("a", 1);
  await harness.turn();
  const controller = new AbortController();
  harness.add("a", 2);
  harness.add("a", 3, controller.signal).promise.catch(() => {});
  controller.abort();
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1]]);
});

test("falsy items and outputs are items and outputs", async () => {
  const harness = new BatcherHarness();
  const added = harness.addMany("", [0, "", undefined, null, false]);
  await harness.turn();
  harness.batches[0]?.finish([undefined, 0, "", false, null]);
  await harness.run();
  assert.deepEqual(
    added.map(({ settled, value }) => [settled, value]),
    [undefined, 0, "", false, null].map((value) => ["value", value]),
  );
});

test("an Error is an ordinary output; only fail rejects, with its very reason", async () => {
  const harness = new BatcherHarness();
  const [good, bad] = harness.addMany("a", [1, 2]);
  const reason = { code: 550 };
  const output = new Error("an output");
  await harness.turn();
  harness.batches[0]?.finish([output, fail(reason)]);
  await harness.run();
  assert.equal(good?.value, output);
  assert.equal(bad?.error, reason);
  assert.equal(harness.batcher.stats().failed, 1);
});

const endings: [string, unknown, number | undefined][] = [
  ["one output too few", [1], 1],
  ["one output too many", [1, 2, 3], 3],
  ["an object that looks like an array", { length: 2 }, undefined],
  ["nothing", null, undefined],
];
for (const [what, outputs, actual] of endings) {
  test(`${what} fails every item of the batch and reports what was expected`, async () => {
    const harness = new BatcherHarness();
    const added = harness.addMany("a", [1, 2]);
    await harness.turn();
    harness.batches[0]?.finish(outputs);
    await harness.run();
    for (const item of added) {
      const error = assertCode(item, "ERR_BATCHER_OUTPUT_COUNT");
      assert.deepEqual([error.expected, error.actual], [2, actual]);
    }
  });
}

test("a throw or a rejection fails its own batch only; the key continues", async () => {
  const cause = new Error("disk on fire");
  let calls = 0;
  const harness = new BatcherHarness({
    process: ({ items }) => {
      calls += 1;
      if (calls === 1) throw cause;
      return calls === 2 ? Promise.reject(cause) : items;
    },
  });
  for (const item of [1, 2, 3]) {
    const added = harness.add("a", item);
    const neighbour = harness.add("a", `${item}, too`);
    await harness.run();
    if (item === 3) {
      assert.equal(added.value, 3);
      continue;
    }
    const error = assertCode(added, "ERR_BATCHER_BATCH_FAILED");
    assert.equal(error.cause, cause);
    assert.deepEqual([error.key, error.batchId], ["a", item]);
    assert.doesNotMatch(error.message, /fire/, "the cause is not pasted into the message");
    assert.notEqual(error, neighbour.error, "each item has an error of its own");
  }
});

test("a BatcherError is an Error and may lack a cause", () => {
  const error = new BatcherError("ERR_BATCHER_CLOSED", "closed");
  assert.ok(error instanceof Error);
  assert.equal(error.name, "BatcherError");
  assert.equal("cause" in error, false);
});

test("every Map key is a valid key; objects compare by identity", async () => {
  const seen: unknown[] = [];
  const batcher = new Batcher<object, number, number>({
    process: ({ items }) => {
      seen.push(items);
      return items;
    },
  });
  const key = {};
  await Promise.all([batcher.add(key, 1), batcher.add({}, 2), batcher.add(key, 3)]);
  assert.deepEqual(seen, [[1, 3], [2]]);
});

test("an invalid size is refused without effect on other items", async () => {
  for (const size of [Number.NaN, -1, Number.POSITIVE_INFINITY, undefined]) {
    const harness = new BatcherHarness({ maxBytes: 10, sizeOf: () => size as number });
    const added = harness.add("a", 1);
    await harness.run();
    assertCode(added, "ERR_BATCHER_BAD_SIZE");
    assert.equal(harness.batcher.stats().keys, 0);
  }
  const cause = new Error("no size");
  const harness = new BatcherHarness({
    sizeOf: () => {
      throw cause;
    },
  });
  const added = harness.add("a", 1);
  await harness.run();
  assert.equal(assertCode(added, "ERR_BATCHER_BAD_SIZE").cause, cause);
});

test("sizeOf is called once per add", async () => {
  let asked = 0;
  const sizeOf = () => {
    asked += 1;
    return 1;
  };
  const harness = new BatcherHarness({ sizeOf, maxBytes: 100, workMs: 1 });
  harness.addMany("a", [1, 2, 3]);
  await harness.run();
  assert.equal(asked, 3);
});
