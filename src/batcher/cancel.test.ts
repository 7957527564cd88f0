import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { assertCode, BatcherLab } from "../../test/support/batcher-harness.ts";

test("aborting a queued item removes it at once and rejects with the reason", async () => {
  const lab = new BatcherLab({ maxItems: 100, maxBatchItems: 3 });
  const controller = new AbortController();
  lab.add("a", 1);
  const cancelled = lab.add("a", 2, controller.signal);
  lab.add("a", 3);
  const reason = new Error("caller went away");
  controller.abort(reason);
  assert.equal(lab.batcher.stats().queued, 2, "its room is free at once");
  await lab.turn();
  assert.equal(cancelled.error, reason);
  assert.deepEqual(lab.sealed, [[1, 3]]);
});

test("an abort after sealing changes nothing for the caller, who gets the truth", async () => {
  const lab = new BatcherLab();
  const controller = new AbortController();
  const added = lab.add("a", 1, controller.signal);
  lab.add("a", 2);
  await lab.turn();
  controller.abort();
  await lab.run();
  assert.equal(added.settled, undefined);
  assert.equal(lab.batches[0]?.batch.signal.aborted, false, "a neighbour still wants it");
  lab.batches[0]?.finish();
  await lab.run();
  assert.equal(added.value, 1);
});

test("batch.signal aborts when the callers of all items have aborted", async () => {
  const lab = new BatcherLab();
  const [one, two] = [new AbortController(), new AbortController()];
  lab.add("a", 1, one.signal);
  lab.add("a", 2, two.signal);
  await lab.turn();
  const signal = lab.batches[0]?.batch.signal;
  one.abort("first");
  assert.equal(signal?.aborted, false);
  two.abort("last");
  assert.equal(signal?.aborted, true);
  assert.equal(signal?.reason, "last");
});

test("batch.signal tells of an abort also to one who asks for it later", async () => {
  const lab = new BatcherLab();
  const controller = new AbortController();
  lab.add("a", 1, controller.signal);
  await lab.turn();
  controller.abort("gone");
  assert.equal(lab.batches[0]?.batch.signal.aborted, true);
  assert.equal(lab.batches[0]?.batch.signal.reason, "gone");
});

test("an add that comes aborted is not accepted", async () => {
  const lab = new BatcherLab({ maxItems: 1, maxBatchItems: 1 });
  lab.add("a", 1);
  const added = lab.add("a", 2, AbortSignal.abort("before"));
  await lab.run();
  assert.equal(added.error, "before", "aborted is said before full");
  assert.equal(lab.batcher.stats().cancelled, 1);
});

test("however many items share a signal, it has one listener, and none once they are settled", async () => {
  const lab = new BatcherLab({ maxBatchItems: 2 });
  const { signal } = new AbortController();
  const listeners = () => getEventListeners(signal, "abort").length;
  for (const item of [1, 2, 3]) lab.add("a", item, signal);
  assert.equal(listeners(), 1);
  await lab.turn();
  lab.batches[0]?.finish();
  await lab.turn();
  assert.equal(listeners(), 1, "the third is still in flight");
  lab.batches[1]?.fail(new Error("no"));
  await lab.run();
  assert.equal(listeners(), 0);
});

test("one abort takes every queued item of its signal, in the order of adding", async () => {
  const lab = new BatcherLab();
  const controller = new AbortController();
  const order: unknown[] = [];
  for (const key of ["a", "b", "a"]) {
    const added = lab.add(key, key, controller.signal);
    added.promise.catch(() => order.push(key));
  }
  controller.abort();
  await lab.run();
  assert.deepEqual(order, ["a", "b", "a"]);
  assert.deepEqual([lab.batches.length, lab.batcher.stats().keys], [0, 0]);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
});

test("listeners go with refused, cancelled and dropped items too", async () => {
  const lab = new BatcherLab({ maxItems: 2, maxBatchItems: 1, onFull: "wait" });
  const { signal } = new AbortController();
  const added = [1, 2, 3].map((item) => lab.add("a", item, signal));
  await lab.turn();
  const closed = lab.batcher.close({ timeoutMs: 5 });
  closed.catch(() => {});
  await lab.advance(5);
  assertCode(added[2], "ERR_BATCHER_CLOSED");
  assertCode(added[1], "ERR_BATCHER_CLOSED");
  lab.batches[0]?.finish();
  await lab.run();
  assert.equal(added[0]?.value, 1);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});
