import assert from "node:assert/strict";
import { test } from "node:test";
import { BatcherLab } from "../../test/support/batcher-harness.ts";

test("a batch with room waits until its oldest item is lingerMs old, and no longer", async () => {
  const lab = new BatcherLab({ lingerMs: 10 });
  lab.add("a", 1);
  await lab.advance(6);
  lab.add("a", 2);
  await lab.advance(3);
  assert.equal(lab.batches.length, 0);
  await lab.advance(1);
  assert.deepEqual(lab.sealed, [[1, 2]]);
  assert.deepEqual([lab.batches[0]?.startedAt, lab.batches[0]?.trigger], [10, "linger"]);
});

test("time spent behind a flush counts: only the rest is waited for", async () => {
  const lab = new BatcherLab({ lingerMs: 10, workMs: 30 });
  lab.add("a", 1);
  await lab.advance(33);
  lab.add("a", 2);
  await lab.advance(3);
  lab.add("a", 3);
  await lab.run();
  assert.deepEqual(lab.sealed, [[1], [2, 3]]);
  assert.equal(lab.batches[1]?.startedAt, 43, "ten after the second came in, not after the flush");
});

test("what waited longer than lingerMs behind a flush starts when it is over", async () => {
  const lab = new BatcherLab({ lingerMs: 10, workMs: 30 });
  lab.add("a", 1);
  await lab.advance(12);
  lab.add("a", 2);
  await lab.run();
  assert.deepEqual([lab.batches[1]?.startedAt, lab.batches[1]?.trigger], [40, "linger"]);
});

test("a full batch does not wait", async () => {
  const lab = new BatcherLab({ lingerMs: 1000, maxBatchItems: 2 });
  lab.addMany("a", [1, 2, 3]);
  await lab.turn();
  assert.deepEqual(lab.sealed, [[1, 2]]);
  assert.equal(lab.batches[0]?.trigger, "full");
});

test("a timer that fires early starts the batch; it never strands an item", async () => {
  const lab = new BatcherLab({ lingerMs: 10, workMs: 1 });
  const added = lab.add("a", 1);
  lab.clock.fireNextTimer(0.95);
  await lab.turn();
  assert.deepEqual(lab.sealed, [[1]], "at once: no second timer for what is left of the wait");
  await lab.run();
  assert.equal(added.value, 1);
});

test("at most one timer per key, none once the batch has started", async () => {
  const lab = new BatcherLab({ lingerMs: 10, maxBatchItems: 3 });
  lab.addMany("a", [1, 2]);
  assert.equal(lab.clock.pendingTimers, 1);
  lab.add("a", 3);
  await lab.turn();
  assert.equal(lab.clock.pendingTimers, 0);
});

test("cancelling the item a timer was armed for does not arm another", async () => {
  const lab = new BatcherLab({ lingerMs: 10 });
  const controller = new AbortController();
  lab.add("a", 1, controller.signal);
  await lab.advance(5);
  lab.add("a", 2);
  controller.abort();
  assert.equal(lab.clock.nextTimerAt, 10, "the second may start early, never late");
  await lab.advance(5);
  assert.deepEqual(lab.sealed, [[2]]);
});

test("cancelling the last item clears the timer and forgets the key", async () => {
  const lab = new BatcherLab({ lingerMs: 10, workMs: 1 });
  const controller = new AbortController();
  lab.add("a", 1, controller.signal);
  controller.abort();
  assert.deepEqual([lab.clock.pendingTimers, lab.batcher.stats().keys], [0, 0]);
  lab.add("a", 2);
  assert.equal(lab.clock.nextTimerAt, 10, "a new item lingers from its own beginning");
  await lab.run();
  assert.deepEqual(lab.sealed, [[2]]);
});

test("while acquire runs, what it will not take lingers by its own age", async () => {
  const lab = new BatcherLab({
    lingerMs: 10,
    keyConcurrency: 2,
    maxBatchItems: 2,
    acquire: () => new Promise<never>(() => {}),
  });
  lab.addMany("a", [1, 2]);
  await lab.advance(4);
  lab.add("a", 3);
  assert.equal(lab.clock.nextTimerAt, 14);
  await lab.advance(10);
  assert.equal(lab.batcher.stats().acquiring, 2);
});

test("holdUntilFull without lingerMs waits for company, however long", async () => {
  const lab = new BatcherLab({ holdUntilFull: true, maxBatchItems: 2 });
  lab.add("a", 1);
  await lab.advance(1_000_000);
  assert.equal(lab.batches.length, 0);
  lab.add("a", 2);
  await lab.turn();
  assert.deepEqual(lab.sealed, [[1, 2]]);
});

test("holdUntilFull with lingerMs waits for company or for time", async () => {
  const lab = new BatcherLab({ holdUntilFull: true, maxBatchItems: 2, lingerMs: 10 });
  lab.add("a", 1);
  await lab.advance(10);
  assert.deepEqual(lab.sealed, [[1]]);
});
