/** The limits on outstanding items and bytes, with `onFull: "reject"` and `"wait"`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCode, BatcherHarness } from "../../test/support/batcher-harness.ts";

test("past maxItems an add is refused until an item settles", async () => {
  const harness = new BatcherHarness({ maxItems: 2, maxBatchItems: 2 });
  harness.addMany("a", [1, 2]);
  await harness.turn();
  const refused = harness.add("b", 3);
  await harness.turn();
  const error = assertCode(refused, "ERR_BATCHER_FULL");
  assert.deepEqual([error.scope, error.limit, error.key], ["items", 2, "b"]);
  harness.batches[0]?.finish();
  await harness.turn();
  harness.add("b", 4);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1, 2], [4]]);
});

test("past maxItemsPerKey adds of that key are refused, others accepted", async () => {
  const harness = new BatcherHarness({ maxItemsPerKey: 1 });
  const added = [harness.add("a", 1), harness.add("a", 2), harness.add("b", 3)];
  await harness.turn();
  assert.equal(assertCode(added[1], "ERR_BATCHER_FULL").scope, "key");
  assert.deepEqual(harness.sealed, [[1], [3]]);
});

test("past maxBytes an add is refused; an item above maxBytes is too large", async () => {
  const harness = new BatcherHarness({ maxBytes: 100, sizeOf: Number });
  harness.add("a", 60);
  const [full, tooLarge] = harness.addMany("a", [50, 101]);
  await harness.turn();
  assert.equal(assertCode(full, "ERR_BATCHER_FULL").scope, "bytes");
  assert.equal(assertCode(tooLarge, "ERR_BATCHER_ITEM_TOO_LARGE").limit, 100);
  harness.add("a", 40);
  assert.equal(harness.batcher.stats().bytes, 100);
});

test("an oversized item reports TOO_LARGE even when the batcher is full", async () => {
  const harness = new BatcherHarness({
    maxItems: 1,
    maxBatchItems: 1,
    maxBytes: 10,
    sizeOf: Number,
  });
  const [, second] = harness.addMany("a", [1, 11]);
  await harness.turn();
  assertCode(second, "ERR_BATCHER_ITEM_TOO_LARGE");
});

const waiting = { onFull: "wait", maxItems: 2, maxBatchItems: 1, workMs: 1 } as const;

test('with onFull "wait" an add past a limit waits until there is room', async () => {
  const harness = new BatcherHarness(waiting);
  const added = harness.addMany("a", [1, 2, 3, 4]);
  assert.deepEqual([harness.batcher.stats().queued, harness.batcher.stats().waiting], [2, 2]);
  await harness.run();
  assert.deepEqual(harness.sealed, [[1], [2], [3], [4]]);
  assert.ok(added.every(({ settled }) => settled === "value"));
});

test("waiting adds enter in order: a small item does not overtake a large one", async () => {
  const harness = new BatcherHarness({
    onFull: "wait",
    maxBytes: 100,
    sizeOf: Number,
    keyConcurrency: 9,
  });
  harness.addMany("a", [80, 10]);
  await harness.turn();
  harness.add("a", 70);
  harness.add("b", 5);
  assert.equal(harness.batcher.stats().waiting, 2, "5 bytes would fit, but 70 came first");
  await harness.turn();
  assert.deepEqual(harness.sealed, [[80, 10]]);
  harness.batches[0]?.finish();
  await harness.turn();
  assert.deepEqual(harness.sealed, [[80, 10], [70], [5]]);
});

test("an aborted waiting add leaves the line, and the next one enters", async () => {
  const harness = new BatcherHarness({ onFull: "wait", maxBytes: 100, sizeOf: Number });
  const controller = new AbortController();
  harness.add("a", 80);
  const large = harness.add("a", 70, controller.signal);
  harness.add("a", 20);
  assert.equal(harness.batcher.stats().waiting, 2);
  controller.abort("enough");
  assert.equal(harness.batcher.stats().waiting, 0);
  await harness.turn();
  assert.equal(large.error, "enough");
  assert.deepEqual(harness.sealed, [[80, 20]]);
});

test("cancelling a queued item admits a waiting add", async () => {
  const harness = new BatcherHarness({ onFull: "wait", maxItems: 1, maxBatchItems: 1 });
  const controller = new AbortController();
  harness.add("a", 1, controller.signal);
  harness.add("b", 2);
  controller.abort();
  await harness.turn();
  assert.deepEqual(harness.sealed, [[2]]);
});

test("an add from a reaction to a settled item queues behind waiting adds", async () => {
  const harness = new BatcherHarness({ onFull: "wait", maxItems: 1, maxBatchItems: 1, workMs: 1 });
  const [first] = harness.addMany("a", [1, 2]);
  void first?.promise.then(() => harness.add("a", 3));
  await harness.run();
  assert.deepEqual(harness.sealed, [[1], [2], [3]]);
});

test("a waiting add starts held items, or both would wait for ever", async () => {
  for (const hold of [{ holdUntilFull: true }, { lingerMs: 1000 }]) {
    const harness = new BatcherHarness({ onFull: "wait", maxItems: 2, maxBatchItems: 2, ...hold });
    harness.add("a", 1);
    harness.add("b", 2);
    harness.add("c", 3);
    await harness.turn();
    assert.deepEqual(harness.sealed, [[1], [2]]);
    assert.equal(harness.batches[0]?.trigger, "full");
    harness.batches[0]?.finish();
    await harness.turn();
    assert.deepEqual(
      harness.sealed,
      [[1], [2]],
      "the third has entered, no add waits, and it is held again",
    );
  }
});

test("a refused add starts held items", async () => {
  const harness = new BatcherHarness({ maxItems: 2, maxBatchItems: 2, holdUntilFull: true });
  harness.add("a", 1);
  harness.add("b", 2);
  const refused = harness.add("c", 3);
  await harness.turn();
  assertCode(refused, "ERR_BATCHER_FULL");
  assert.deepEqual(harness.sealed, [[1], [2]]);
});
