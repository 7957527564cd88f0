/** `acquire` and `release`: which items a batch gets, what a slot covers, what failures cost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCode, BatcherHarness } from "../../test/support/batcher-harness.ts";

/** An `acquire` that the test ends, and a `release` that records its calls. */
function pool() {
  const asked: { ok: (resource: unknown) => void; fail: (error: Error) => void }[] = [];
  const released: unknown[] = [];
  const signals: AbortSignal[] = [];
  return {
    asked,
    released,
    signals,
    acquire: (_: string, signal: AbortSignal): Promise<unknown> => {
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      asked.push({ ok: resolve, fail: reject });
      signals.push(signal);
      return promise;
    },
    release: (resource: unknown) => {
      released.push(resource);
    },
  };
}

test("items that arrive while acquire runs join its batch", async () => {
  const { acquire, release, asked, released } = pool();
  const harness = new BatcherHarness({ acquire, release });
  harness.add("a", 1);
  await harness.turn();
  harness.add("a", 2);
  await harness.turn();
  assert.equal(harness.batches.length, 0);
  asked[0]?.ok("a connection");
  await harness.run();
  assert.deepEqual(harness.sealed, [[1, 2]]);
  assert.equal(harness.batches[0]?.batch.resource, "a connection");
  assert.deepEqual(released, []);
  harness.batches[0]?.finish();
  await harness.run();
  assert.deepEqual(released, ["a connection"]);
});

test("one queued item acquires once, although slots are free", async () => {
  const { acquire, asked } = pool();
  const harness = new BatcherHarness({ acquire, keyConcurrency: 3, maxBatchItems: 2 });
  harness.add("a", 1);
  await harness.turn();
  harness.add("a", 2);
  await harness.turn();
  assert.equal(asked.length, 1);
  harness.add("a", 3);
  await harness.turn();
  assert.equal(asked.length, 2, "the third does not fit into the batch that is acquiring");
});

test("an acquiring slot covers an item larger than maxBatchBytes", async () => {
  const { acquire, asked } = pool();
  const sizes = { maxBatchBytes: 10, sizeOf: Number };
  const harness = new BatcherHarness({ acquire, keyConcurrency: 3, ...sizes });
  harness.add("a", 500);
  await harness.turn();
  await harness.turn();
  assert.equal(asked.length, 1);
});

test("items left behind by a byte limit acquire a slot of their own", async () => {
  const { acquire, asked } = pool();
  const harness = new BatcherHarness({
    acquire,
    maxBatchBytes: 100,
    sizeOf: Number,
    keyConcurrency: 3,
  });
  harness.addMany("a", [60, 60, 60]);
  await harness.turn();
  assert.equal(asked.length, 2, "two slots cover 180 bytes");
  asked[0]?.ok(1);
  await harness.run();
  assert.deepEqual(harness.sealed, [[60]]);
  assert.equal(asked.length, 3, "one slot does not cover 120 bytes");
});

test("20 items make two batches of 10, whichever resource is acquired first", async () => {
  const { acquire, asked } = pool();
  const harness = new BatcherHarness({ acquire, keyConcurrency: 2, maxBatchItems: 10 });
  const items = Array.from({ length: 20 }, (_, index) => index);
  harness.addMany("a", items);
  await harness.turn();
  asked[1]?.ok("second");
  await harness.run();
  asked[0]?.ok("first");
  await harness.run();
  assert.deepEqual(harness.sealed, [items.slice(0, 10), items.slice(10)]);
});

test("a failed acquire rejects the items of its batch and no others", async () => {
  const { acquire, release, asked, released } = pool();
  const harness = new BatcherHarness({ acquire, release, maxBatchItems: 2 });
  const added = harness.addMany("a", [1, 2, 3]);
  await harness.turn();
  const cause = new Error("pool is dry");
  asked[0]?.fail(cause);
  await harness.run();
  for (const item of added.slice(0, 2)) {
    const error = assertCode(item, "ERR_BATCHER_ACQUIRE_FAILED");
    assert.equal(error.cause, cause);
    assert.doesNotMatch(error.message, /dry/);
  }
  assert.equal(asked.length, 2, "the slot is free and the third item has its turn");
  asked[1]?.ok("fine");
  await harness.run();
  assert.deepEqual(harness.sealed, [[3]], "what failed to acquire is never processed");
  harness.batches[0]?.finish();
  await harness.run();
  assert.deepEqual(released, ["fine"]);
});

test("each failed acquire rejects one batch with its own error", async () => {
  let calls = 0;
  const harness = new BatcherHarness({
    maxBatchItems: 2,
    acquire: () => {
      calls += 1;
      throw new Error(`acquire ${calls}`);
    },
  });
  const added = harness.addMany("a", [1, 2, 3, 4]);
  await harness.run();
  const causes = added.map(
    (item) => (assertCode(item, "ERR_BATCHER_ACQUIRE_FAILED").cause as Error).message,
  );
  assert.deepEqual(causes, ["acquire 1", "acquire 1", "acquire 2", "acquire 2"]);
  assert.equal(harness.batcher.stats().keys, 0);
});

test("an acquire whose items were all cancelled releases without processing", async () => {
  const { acquire, release, asked, released } = pool();
  const harness = new BatcherHarness({ acquire, release });
  const controller = new AbortController();
  harness.add("a", 1, controller.signal);
  await harness.turn();
  controller.abort();
  asked[0]?.ok("unused");
  await harness.run();
  assert.equal(harness.batches.length, 0);
  assert.deepEqual(released, ["unused"]);
  assert.deepEqual([harness.batcher.stats().keys, harness.batcher.stats().batches], [0, 0]);
});

test("items settle before the release; the next batch of the key waits for it", async () => {
  const { promise: releasing, resolve: released } = Promise.withResolvers<void>();
  const harness = new BatcherHarness({ acquire: () => "r", release: () => releasing });
  const first = harness.add("a", 1);
  await harness.turn();
  harness.add("a", 2);
  harness.batches[0]?.finish();
  await harness.run();
  assert.equal(first.settled, "value");
  assert.deepEqual(harness.sealed, [[1]]);
  released();
  await harness.run();
  assert.deepEqual(harness.sealed, [[1], [2]]);
});

test("a failed release emits a warning and frees the slot", async (t) => {
  const warn = t.mock.method(process, "emitWarning", () => {});
  const cause = new Error("cannot let go");
  const harness = new BatcherHarness({ acquire: () => "r", release: () => Promise.reject(cause) });
  for (const item of [1, 2]) {
    const added = harness.add("a", item);
    await harness.turn();
    harness.batches.at(-1)?.finish();
    await harness.run();
    assert.equal(added.value, item);
  }
  assert.equal(harness.batcher.stats().keys, 0);
  assert.equal(warn.mock.callCount(), 1, "one warning, however often");
  const [warning] = warn.mock.calls[0]?.arguments ?? [];
  assert.equal((warning as Error | undefined)?.cause, cause);
});

test("close waits for a running acquire, processes queued items and releases", async () => {
  const { acquire, release, asked, released } = pool();
  const harness = new BatcherHarness({ acquire, release, workMs: 1 });
  const added = harness.add("a", 1);
  await harness.turn();
  let closed = false;
  void harness.batcher.close().then(() => {
    closed = true;
  });
  await harness.run();
  assert.equal(closed, false);
  asked[0]?.ok("late");
  await harness.run();
  assert.deepEqual([added.value, closed, released], [1, true, ["late"]]);
});

test("a drain timeout aborts the signal of a running acquire", async () => {
  const { acquire, release, asked, released, signals } = pool();
  const harness = new BatcherHarness({ acquire, release });
  const added = harness.add("a", 1);
  await harness.turn();
  const closed = assert.rejects(harness.batcher.close({ timeoutMs: 10 }), {
    code: "ERR_BATCHER_DRAIN_TIMEOUT",
    queued: 1,
    inFlight: 0,
  });
  await harness.advance(10);
  await closed;
  assertCode(added, "ERR_BATCHER_CLOSED");
  assert.equal(signals[0]?.aborted, true);
  asked[0]?.ok("too late");
  await harness.run();
  assert.equal(harness.batches.length, 0);
  assert.deepEqual(released, ["too late"]);
});
