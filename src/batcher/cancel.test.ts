/** Abort signals of `add`: waiting, queued and sealed items, and `batch.signal`. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { assertCode, BatcherHarness } from "../../test/support/batcher-harness.ts";

test("aborting a queued item removes it at once and rejects with the reason", async () => {
  const harness = new BatcherHarness({ maxItems: 100, maxBatchItems: 3 });
  const controller = new AbortController();
  harness.add("a", 1);
  const cancelled = harness.add("a", 2, controller.signal);
  harness.add("a", 3);
  const reason = new Error("caller went away");
  controller.abort(reason);
  assert.equal(harness.batcher.stats().queued, 2, "its room is free at once");
  await harness.turn();
  assert.equal(cancelled.error, reason);
  assert.deepEqual(harness.sealed, [[1, 3]]);
});

test("an abort after sealing changes nothing: the caller gets the real result", async () => {
  const harness = new BatcherHarness();
  const controller = new AbortController();
  const added = harness.add("a", 1, controller.signal);
  harness.add("a", 2);
  await harness.turn();
  controller.abort();
  await harness.run();
  assert.equal(added.settled, undefined);
  assert.equal(
    harness.batches[0]?.batch.signal.aborted,
    false,
    "another item of the batch is not aborted",
  );
  harness.batches[0]?.finish();
  await harness.run();
  assert.equal(added.value, 1);
});

test("batch.signal aborts when the callers of all items have aborted", async () => {
  const harness = new BatcherHarness();
  const [one, two] = [new AbortController(), new AbortController()];
  harness.add("a", 1, one.signal);
  harness.add("a", 2, two.signal);
  await harness.turn();
  const signal = harness.batches[0]?.batch.signal;
  one.abort("first");
  assert.equal(signal?.aborted, false);
  two.abort("last");
  assert.equal(signal?.aborted, true);
  assert.equal(signal?.reason, "last");
});

test("a batch.signal first read after the abort is aborted", async () => {
  const harness = new BatcherHarness();
  const controller = new AbortController();
  harness.add("a", 1, controller.signal);
  await harness.turn();
  controller.abort("gone");
  assert.equal(harness.batches[0]?.batch.signal.aborted, true);
  assert.equal(harness.batches[0]?.batch.signal.reason, "gone");
});

test("an add with an aborted signal is not accepted", async () => {
  const harness = new BatcherHarness({ maxItems: 1, maxBatchItems: 1 });
  harness.add("a", 1);
  const added = harness.add("a", 2, AbortSignal.abort("before"));
  await harness.run();
  assert.equal(added.error, "before", "an aborted add is cancelled, not refused as full");
  assert.equal(harness.batcher.stats().cancelled, 1);
});

test("items that share a signal use one listener, removed once they settle", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 2 });
  const { signal } = new AbortController();
  const listeners = () => getEventListeners(signal, "abort").length;
  for (const item of [1, 2, 3]) harness.add("a", item, signal);
  assert.equal(listeners(), 1);
  await harness.turn();
  harness.batches[0]?.finish();
  await harness.turn();
  assert.equal(listeners(), 1, "the third is still in flight");
  harness.batches[1]?.fail(new Error("no"));
  await harness.run();
  assert.equal(listeners(), 0);
});

test("one abort removes every queued item of its signal, in order of adding", async () => {
  const harness = new BatcherHarness();
  const controller = new AbortController();
  const order: unknown[] = [];
  for (const key of ["a", "b", "a"]) {
    const added = harness.add(key, key, controller.signal);
    added.promise.catch(() => order.push(key));
  }
  controller.abort();
  await harness.run();
  assert.deepEqual(order, ["a", "b", "a"]);
  assert.deepEqual([harness.batches.length, harness.batcher.stats().keys], [0, 0]);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
});

test("refused, cancelled and dropped items leave no listener", async () => {
  const harness = new BatcherHarness({ maxItems: 2, maxBatchItems: 1, onFull: "wait" });
  const { signal } = new AbortController();
  const added = [1, 2, 3].map((item) => harness.add("a", item, signal));
  await harness.turn();
  const closed = harness.batcher.close({ timeoutMs: 5 });
  closed.catch(() => {});
  await harness.advance(5);
  assertCode(added[2], "ERR_BATCHER_CLOSED");
  assertCode(added[1], "ERR_BATCHER_CLOSED");
  harness.batches[0]?.finish();
  await harness.run();
  assert.equal(added[0]?.value, 1);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});
