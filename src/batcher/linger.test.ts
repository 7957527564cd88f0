/** `lingerMs` and `holdUntilFull`: when a partial batch starts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BatcherHarness } from "../../test/support/batcher-harness.ts";

test("a partial batch starts when its oldest item is lingerMs old", async () => {
  const harness = new BatcherHarness({ lingerMs: 10 });
  harness.add("a", 1);
  await harness.advance(6);
  harness.add("a", 2);
  await harness.advance(3);
  assert.equal(harness.batches.length, 0);
  await harness.advance(1);
  assert.deepEqual(harness.sealed, [[1, 2]]);
  assert.deepEqual([harness.batches[0]?.startedAtMs, harness.batches[0]?.trigger], [10, "linger"]);
});

test("time queued behind a batch counts towards lingerMs", async () => {
  const harness = new BatcherHarness({ lingerMs: 10, workMs: 30 });
  harness.add("a", 1);
  await harness.advance(33);
  harness.add("a", 2);
  await harness.advance(3);
  harness.add("a", 3);
  await harness.run();
  assert.deepEqual(harness.sealed, [[1], [2, 3]]);
  assert.equal(
    harness.batches[1]?.startedAtMs,
    43,
    "ten ms after the second was added, not after the batch",
  );
});

test("items queued longer than lingerMs behind a batch start when it ends", async () => {
  const harness = new BatcherHarness({ lingerMs: 10, workMs: 30 });
  harness.add("a", 1);
  await harness.advance(12);
  harness.add("a", 2);
  await harness.run();
  assert.deepEqual([harness.batches[1]?.startedAtMs, harness.batches[1]?.trigger], [40, "linger"]);
});

test("a full batch does not wait for lingerMs", async () => {
  const harness = new BatcherHarness({ lingerMs: 1000, maxBatchItems: 2 });
  harness.addMany("a", [1, 2, 3]);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1, 2]]);
  assert.equal(harness.batches[0]?.trigger, "full");
});

test("a timer that fires early still starts the batch", async () => {
  const harness = new BatcherHarness({ lingerMs: 10, workMs: 1 });
  const added = harness.add("a", 1);
  harness.clock.fireNextTimer(0.95);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1]], "at once: no second timer for what is left of the wait");
  await harness.run();
  assert.equal(added.value, 1);
});

test("a key has at most one timer, and none once the batch has started", async () => {
  const harness = new BatcherHarness({ lingerMs: 10, maxBatchItems: 3 });
  harness.addMany("a", [1, 2]);
  assert.equal(harness.clock.pendingTimers, 1);
  harness.add("a", 3);
  await harness.turn();
  assert.equal(harness.clock.pendingTimers, 0);
});

test("cancelling the item of a timer arms no other timer", async () => {
  const harness = new BatcherHarness({ lingerMs: 10 });
  const controller = new AbortController();
  harness.add("a", 1, controller.signal);
  await harness.advance(5);
  harness.add("a", 2);
  controller.abort();
  assert.equal(harness.clock.nextTimerAtMs, 10, "the second may start early, never late");
  await harness.advance(5);
  assert.deepEqual(harness.sealed, [[2]]);
});

test("cancelling the last item clears the timer and forgets the key", async () => {
  const harness = new BatcherHarness({ lingerMs: 10, workMs: 1 });
  const controller = new AbortController();
  harness.add("a", 1, controller.signal);
  controller.abort();
  assert.deepEqual([harness.clock.pendingTimers, harness.batcher.stats().keys], [0, 0]);
  harness.add("a", 2);
  assert.equal(harness.clock.nextTimerAtMs, 10, "a new item lingers from its own arrival");
  await harness.run();
  assert.deepEqual(harness.sealed, [[2]]);
});

test("items that a running acquire does not cover linger by their own age", async () => {
  const harness = new BatcherHarness({
    lingerMs: 10,
    keyConcurrency: 2,
    maxBatchItems: 2,
    acquire: () => new Promise<never>(() => {}),
  });
  harness.addMany("a", [1, 2]);
  await harness.advance(4);
  harness.add("a", 3);
  assert.equal(harness.clock.nextTimerAtMs, 14);
  await harness.advance(10);
  assert.equal(harness.batcher.stats().acquiring, 2);
});

test("holdUntilFull without lingerMs waits until the batch is full", async () => {
  const harness = new BatcherHarness({ holdUntilFull: true, maxBatchItems: 2 });
  harness.add("a", 1);
  await harness.advance(1_000_000);
  assert.equal(harness.batches.length, 0);
  harness.add("a", 2);
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1, 2]]);
});

test("holdUntilFull with lingerMs waits for a full batch or for the time", async () => {
  const harness = new BatcherHarness({ holdUntilFull: true, maxBatchItems: 2, lingerMs: 10 });
  harness.add("a", 1);
  await harness.advance(10);
  assert.deepEqual(harness.sealed, [[1]]);
});
