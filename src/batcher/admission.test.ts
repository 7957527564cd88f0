import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCode, BatcherLab } from "../../test/support/batcher-harness.ts";

test("past maxItems an add is refused, and accepted again once something is settled", async () => {
  const lab = new BatcherLab({ maxItems: 2, maxBatchItems: 2 });
  lab.addMany("a", [1, 2]);
  await lab.turn();
  const refused = lab.add("b", 3);
  await lab.turn();
  const error = assertCode(refused, "ERR_BATCHER_FULL");
  assert.deepEqual([error.scope, error.limit, error.key], ["items", 2, "b"]);
  lab.batches[0]?.finish();
  await lab.turn();
  lab.add("b", 4);
  await lab.turn();
  assert.deepEqual(lab.sealed, [[1, 2], [4]]);
});

test("past maxItemsPerKey one key is refused and the others are not", async () => {
  const lab = new BatcherLab({ maxItemsPerKey: 1 });
  const added = [lab.add("a", 1), lab.add("a", 2), lab.add("b", 3)];
  await lab.turn();
  assert.equal(assertCode(added[1], "ERR_BATCHER_FULL").scope, "key");
  assert.deepEqual(lab.sealed, [[1], [3]]);
});

test("past maxBytes an add is refused; an item that can never fit is too large", async () => {
  const lab = new BatcherLab({ maxBytes: 100, sizeOf: Number });
  lab.add("a", 60);
  const [full, tooLarge] = lab.addMany("a", [50, 101]);
  await lab.turn();
  assert.equal(assertCode(full, "ERR_BATCHER_FULL").scope, "bytes");
  assert.equal(assertCode(tooLarge, "ERR_BATCHER_ITEM_TOO_LARGE").limit, 100);
  lab.add("a", 40);
  assert.equal(lab.batcher.stats().bytes, 100);
});

test("too large is said before full", async () => {
  const lab = new BatcherLab({ maxItems: 1, maxBatchItems: 1, maxBytes: 10, sizeOf: Number });
  const [, second] = lab.addMany("a", [1, 11]);
  await lab.turn();
  assertCode(second, "ERR_BATCHER_ITEM_TOO_LARGE");
});

const waiting = { onFull: "wait", maxItems: 2, maxBatchItems: 1, workMs: 1 } as const;

test("with wait an add past the limit waits, and comes in as soon as there is room", async () => {
  const lab = new BatcherLab(waiting);
  const added = lab.addMany("a", [1, 2, 3, 4]);
  assert.deepEqual([lab.batcher.stats().queued, lab.batcher.stats().waiting], [2, 2]);
  await lab.run();
  assert.deepEqual(lab.sealed, [[1], [2], [3], [4]]);
  assert.ok(added.every(({ settled }) => settled === "value"));
});

test("waiting is first come, first served: a small item does not overtake a large one", async () => {
  const lab = new BatcherLab({ onFull: "wait", maxBytes: 100, sizeOf: Number, keyConcurrency: 9 });
  lab.addMany("a", [80, 10]);
  await lab.turn();
  lab.add("a", 70);
  lab.add("b", 5);
  assert.equal(lab.batcher.stats().waiting, 2, "5 bytes would fit, but 70 came first");
  await lab.turn();
  assert.deepEqual(lab.sealed, [[80, 10]]);
  lab.batches[0]?.finish();
  await lab.turn();
  assert.deepEqual(lab.sealed, [[80, 10], [70], [5]]);
});

test("aborting a waiting add takes it out, and lets the next one in", async () => {
  const lab = new BatcherLab({ onFull: "wait", maxBytes: 100, sizeOf: Number });
  const controller = new AbortController();
  lab.add("a", 80);
  const large = lab.add("a", 70, controller.signal);
  lab.add("a", 20);
  assert.equal(lab.batcher.stats().waiting, 2);
  controller.abort("enough");
  assert.equal(lab.batcher.stats().waiting, 0);
  await lab.turn();
  assert.equal(large.error, "enough");
  assert.deepEqual(lab.sealed, [[80, 20]]);
});

test("cancelling a queued item lets a waiting one in", async () => {
  const lab = new BatcherLab({ onFull: "wait", maxItems: 1, maxBatchItems: 1 });
  const controller = new AbortController();
  lab.add("a", 1, controller.signal);
  lab.add("b", 2);
  controller.abort();
  await lab.turn();
  assert.deepEqual(lab.sealed, [[2]]);
});

test("an add in the reaction to a settled item queues behind those that wait", async () => {
  const lab = new BatcherLab({ onFull: "wait", maxItems: 1, maxBatchItems: 1, workMs: 1 });
  const [first] = lab.addMany("a", [1, 2]);
  void first?.promise.then(() => lab.add("a", 3));
  await lab.run();
  assert.deepEqual(lab.sealed, [[1], [2], [3]]);
});

test("a waiting add pushes out what is held for company, or both would wait for ever", async () => {
  for (const hold of [{ holdUntilFull: true }, { lingerMs: 1000 }]) {
    const lab = new BatcherLab({ onFull: "wait", maxItems: 2, maxBatchItems: 2, ...hold });
    lab.add("a", 1);
    lab.add("b", 2);
    lab.add("c", 3);
    await lab.turn();
    assert.deepEqual(lab.sealed, [[1], [2]]);
    assert.equal(lab.batches[0]?.trigger, "full");
    lab.batches[0]?.finish();
    await lab.turn();
    assert.deepEqual(lab.sealed, [[1], [2]], "the third is in, nobody waits, and it is held again");
  }
});

test("a refused add pushes out what is held for company", async () => {
  const lab = new BatcherLab({ maxItems: 2, maxBatchItems: 2, holdUntilFull: true });
  lab.add("a", 1);
  lab.add("b", 2);
  const refused = lab.add("c", 3);
  await lab.turn();
  assertCode(refused, "ERR_BATCHER_FULL");
  assert.deepEqual(lab.sealed, [[1], [2]]);
});
