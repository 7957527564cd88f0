/**
 * The classic policies, with the test cases of batch-aint-one, on a simulated clock.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCode, BatcherHarness } from "../../test/support/batcher-harness.ts";
import { policies } from "./index.ts";

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
const starts = (harness: BatcherHarness) => harness.batches.map(({ startedAtMs }) => startedAtMs);
const sizes = (harness: BatcherHarness) => harness.batches.map(({ items }) => items.length);

test("immediate: with concurrency 1 batches follow one another", async () => {
  const harness = new BatcherHarness({ ...policies.immediate({ keyConcurrency: 1 }), workMs: 50 });
  const first = harness.add("a", 1);
  await harness.turn();
  const second = harness.add("a", 2);
  await harness.run();
  assert.deepEqual([first.settledAtMs, second.settledAtMs], [50, 100]);
});

test("immediate: with concurrency 2 batches overlap", async () => {
  const harness = new BatcherHarness({ ...policies.immediate({ keyConcurrency: 2 }), workMs: 50 });
  const first = harness.add("a", 1);
  await harness.turn();
  const second = harness.add("a", 2);
  await harness.run();
  assert.deepEqual([first.settledAtMs, second.settledAtMs], [50, 50]);
});

test("immediate: a key works again each time after it was idle", async () => {
  const harness = new BatcherHarness({ ...policies.immediate(), workMs: 50 });
  for (const item of [1, 2, 3]) {
    const added = harness.add("a", item);
    await harness.run();
    assert.equal(added.value, item);
    assert.equal(harness.batcher.stats().keys, 0, "an idle key is forgotten");
  }
});

test("immediate: five items of one turn are one batch on an idle key", async () => {
  const harness = new BatcherHarness({ ...policies.immediate(), workMs: 50 });
  harness.addMany("a", numbers(5));
  await harness.run();
  assert.deepEqual(sizes(harness), [5]);
});

test("immediate: maxItemsPerKey 11 accepts eleven items and refuses the twelfth", async () => {
  const limits = { maxBatchItems: 10, maxItemsPerKey: 11 };
  const harness = new BatcherHarness({
    ...policies.immediate({ keyConcurrency: 1 }),
    ...limits,
    workMs: 50,
  });
  const added = [harness.add("a", 0)];
  await harness.turn();
  added.push(...harness.addMany("a", numbers(11)));
  await harness.run();
  assertCode(added.pop(), "ERR_BATCHER_FULL");
  assert.ok(added.every(({ settled }) => settled === "value"));
  assert.deepEqual(sizes(harness), [1, 10]);
});

test("immediate: 21 items at concurrency 2 all succeed", async () => {
  const harness = new BatcherHarness({
    ...policies.immediate({ keyConcurrency: 2 }),
    maxBatchItems: 5,
    workMs: 50,
  });
  const added = harness.addMany("a", numbers(21));
  await harness.run();
  assert.ok(added.every(({ settled }) => settled === "value"));
  assert.deepEqual(sizes(harness), [5, 5, 5, 5, 1]);
});

test("size: a batch starts when its last item arrives, not before", async () => {
  const harness = new BatcherHarness({ ...policies.size(3), workMs: 50 });
  harness.addMany("a", [1, 2]);
  await harness.advance(1000);
  assert.deepEqual(sizes(harness), []);
  harness.add("a", 3);
  await harness.run();
  assert.deepEqual(harness.sealed, [[1, 2, 3]]);
});

test("size: 100 items make ten batches of 10", async () => {
  const harness = new BatcherHarness({ ...policies.size(10), workMs: 50 });
  harness.addMany("a", numbers(100));
  await harness.run();
  assert.deepEqual(sizes(harness), Array(10).fill(10));
});

test("size: a partial batch is held after another ends, and starts once full", async () => {
  const harness = new BatcherHarness({ ...policies.size(2), workMs: 50 });
  harness.addMany("a", [1, 2, 3]);
  await harness.advance(100);
  assert.deepEqual(harness.sealed, [[1, 2]]);
  harness.add("a", 4);
  await harness.run();
  assert.deepEqual(harness.sealed, [
    [1, 2],
    [3, 4],
  ]);
});

test("size: close runs a partial batch", async () => {
  const harness = new BatcherHarness({ ...policies.size(100), workMs: 50 });
  const added = harness.add("a", 1);
  const closed = harness.batcher.close();
  await harness.run();
  await closed;
  assert.equal(added.value, 1);
});

test("size with lingerMs: a partial batch starts when lingerMs is over", async () => {
  const harness = new BatcherHarness({ ...policies.size(100, { lingerMs: 20 }), workMs: 50 });
  harness.add("a", 1);
  await harness.run();
  assert.deepEqual(starts(harness), [20]);
});

test("size: two batches run, two wait, the next add is refused; other keys go on", async () => {
  const harness = new BatcherHarness({ ...policies.size(1), keyConcurrency: 2, maxItemsPerKey: 4 });
  const added = harness.addMany("a", numbers(5));
  harness.add("b", "b");
  await harness.turn();
  assertCode(added[4], "ERR_BATCHER_FULL");
  assert.deepEqual(harness.sealed, [[0], ["b"], [1]]);
  assert.equal(harness.batcher.stats().queued, 2);
});

test("duration: a lone item takes the linger and the work", async () => {
  const harness = new BatcherHarness({ ...policies.duration(100), workMs: 50 });
  const added = harness.add("a", 1);
  await harness.run();
  assert.equal(added.settledAtMs, 150);
});

test("duration: a full batch does not wait for lingerMs, even one of a single item", async () => {
  const harness = new BatcherHarness({
    ...policies.duration(100, { maxBatchItems: 1 }),
    workMs: 50,
  });
  const added = harness.add("a", 1);
  await harness.run();
  assert.equal(added.settledAtMs, 50);
});

test("duration: 100 items are all processed", async () => {
  const harness = new BatcherHarness({
    ...policies.duration(100, { maxBatchItems: 10 }),
    workMs: 50,
  });
  const added = harness.addMany("a", numbers(100));
  await harness.run();
  assert.ok(added.every(({ settled }) => settled === "value"));
});

test("duration with reject: ten items fill the batch, ninety are refused", async () => {
  const policy = policies.duration(100, { onFull: "reject", maxBatchItems: 10 });
  const harness = new BatcherHarness({ ...policy, workMs: 50 });
  const added = harness.addMany("a", numbers(100));
  await harness.run();
  assert.ok(added.slice(0, 10).every(({ settled }) => settled === "value"));
  for (const item of added.slice(10)) assertCode(item, "ERR_BATCHER_FULL");
});

test("duration: a linger that ends while slots are busy starts at the next free slot", async () => {
  const harness = new BatcherHarness({ ...policies.duration(10), workMs: 100 });
  harness.add("a", 1);
  await harness.advance(20);
  harness.add("a", 2);
  await harness.advance(80);
  assert.deepEqual(starts(harness), [10]);
  await harness.run();
  assert.deepEqual(starts(harness), [10, 110]);
});

test("balanced: the first item starts at once, the second waits for its batch", async () => {
  const harness = new BatcherHarness({ ...policies.balanced(3), workMs: 50 });
  const first = harness.add("a", 1);
  await harness.turn();
  const second = harness.add("a", 2);
  await harness.run();
  assert.deepEqual([first.settledAtMs, second.settledAtMs], [50, 100]);
});

test("balanced: an additional batch starts with the minimum of items", async () => {
  const harness = new BatcherHarness({ ...policies.balanced(3), workMs: 50 });
  harness.add("a", 0);
  await harness.turn();
  const added = harness.addMany("a", [1, 2, 3]);
  await harness.run();
  assert.ok(added.every(({ settledAtMs }) => settledAtMs === 50));
});

test("balanced(1) is immediate: items start while a slot is free", async () => {
  const harness = new BatcherHarness({ ...policies.balanced(1), maxBatchItems: 2, workMs: 100 });
  for (const item of [1, 2, 3]) {
    harness.add("a", item);
    await harness.turn();
  }
  assert.deepEqual(harness.sealed, [[1], [2], [3]]);
});

test("balanced with the minimum at maxBatchItems adds slots for full batches only", async () => {
  const harness = new BatcherHarness({ ...policies.balanced(4), maxBatchItems: 4, workMs: 50 });
  harness.add("a", 0);
  await harness.turn();
  harness.addMany("a", [1, 2, 3]);
  await harness.turn();
  assert.deepEqual(sizes(harness), [1]);
  harness.add("a", 4);
  await harness.turn();
  assert.deepEqual(sizes(harness), [1, 4]);
});

test("balanced: nine items with minimum 3 and concurrency 3 take one round", async () => {
  const harness = new BatcherHarness({
    ...policies.balanced(3, { keyConcurrency: 3 }),
    maxBatchItems: 3,
    workMs: 50,
  });
  const added = harness.addMany("a", numbers(9));
  await harness.run();
  assert.deepEqual(sizes(harness), [3, 3, 3]);
  assert.ok(added.every(({ settledAtMs }) => settledAtMs === 50));
});

test("balanced: a burst of 30 items runs in full batches side by side", async () => {
  const harness = new BatcherHarness({ ...policies.balanced(5), maxBatchItems: 10, workMs: 50 });
  const added = harness.addMany("a", numbers(30));
  await harness.run();
  assert.ok(added.every(({ settledAtMs }) => settledAtMs === 50));
});

test("balanced: the end of a batch starts a partial batch, and nothing if none waits", async () => {
  const harness = new BatcherHarness({ ...policies.balanced(5), workMs: 50 });
  harness.add("a", 0);
  await harness.advance(60);
  assert.deepEqual(sizes(harness), [1]);
  harness.add("a", 1);
  await harness.turn();
  harness.addMany("a", [2, 3]);
  await harness.run();
  assert.deepEqual(sizes(harness), [1, 1, 2]);
});

test("balanced: maxItemsPerKey 20 refuses the 21st item", async () => {
  const harness = new BatcherHarness({ ...policies.balanced(5), maxItemsPerKey: 20, workMs: 50 });
  const added = harness.addMany("a", numbers(21));
  await harness.run();
  assertCode(added.pop(), "ERR_BATCHER_FULL");
  assert.ok(added.every(({ settled }) => settled === "value"));
});

const three = ["a", "b", "c"];
const everyPolicy = {
  immediate: policies.immediate(),
  size: policies.size(10),
  duration: policies.duration(10),
  balanced: policies.balanced(5),
};
for (const [name, policy] of Object.entries(everyPolicy)) {
  test(`${name}: 100 items on each of three keys with a pool succeed, and close resolves`, async () => {
    const harness = new BatcherHarness({
      ...policy,
      maxBatchItems: 10,
      acquire: (key) => new Promise((resolve) => harness.clock.setTimeout(() => resolve(key), 3)),
      release: () => new Promise<void>((resolve) => harness.clock.setTimeout(() => resolve(), 1)),
      workMs: 7,
    });
    const added = three.flatMap((key) => harness.addMany(key, numbers(100)));
    await harness.run();
    assert.ok(added.every(({ settled }) => settled === "value"));
    await harness.batcher.close();
  });
}
