import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCode, BatcherLab } from "../../test/support/batcher-harness.ts";

/** An `acquire` that ends by hand, and a `release` that takes notes. */
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

test("items that arrive while acquire runs are in the batch it was for", async () => {
  const { acquire, release, asked, released } = pool();
  const lab = new BatcherLab({ acquire, release });
  lab.add("a", 1);
  await lab.turn();
  lab.add("a", 2);
  await lab.turn();
  assert.equal(lab.batches.length, 0);
  asked[0]?.ok("a connection");
  await lab.run();
  assert.deepEqual(lab.sealed, [[1, 2]]);
  assert.equal(lab.batches[0]?.batch.resource, "a connection");
  assert.deepEqual(released, []);
  lab.batches[0]?.finish();
  await lab.run();
  assert.deepEqual(released, ["a connection"]);
});

test("one queued item acquires once, although slots are free", async () => {
  const { acquire, asked } = pool();
  const lab = new BatcherLab({ acquire, keyConcurrency: 3, maxBatchItems: 2 });
  lab.add("a", 1);
  await lab.turn();
  lab.add("a", 2);
  await lab.turn();
  assert.equal(asked.length, 1);
  lab.add("a", 3);
  await lab.turn();
  assert.equal(asked.length, 2, "the third does not fit the batch being acquired for");
});

test("an oversize item is covered by one slot", async () => {
  const { acquire, asked } = pool();
  const sizes = { maxBatchBytes: 10, sizeOf: Number };
  const lab = new BatcherLab({ acquire, keyConcurrency: 3, ...sizes });
  lab.add("a", 500);
  await lab.turn();
  await lab.turn();
  assert.equal(asked.length, 1);
});

test("a byte limit that seals fewer items than were covered leaves a runnable rest", async () => {
  const { acquire, asked } = pool();
  const lab = new BatcherLab({ acquire, maxBatchBytes: 100, sizeOf: Number, keyConcurrency: 3 });
  lab.addMany("a", [60, 60, 60]);
  await lab.turn();
  assert.equal(asked.length, 2, "180 bytes are covered by two");
  asked[0]?.ok(1);
  await lab.run();
  assert.deepEqual(lab.sealed, [[60]]);
  assert.equal(asked.length, 3, "120 bytes are not covered by one");
});

test("20 items during one acquire make two batches of 10, whichever resource comes first", async () => {
  const { acquire, asked } = pool();
  const lab = new BatcherLab({ acquire, keyConcurrency: 2, maxBatchItems: 10 });
  const items = Array.from({ length: 20 }, (_, index) => index);
  lab.addMany("a", items);
  await lab.turn();
  asked[1]?.ok("second");
  await lab.run();
  asked[0]?.ok("first");
  await lab.run();
  assert.deepEqual(lab.sealed, [items.slice(0, 10), items.slice(10)]);
});

test("a failed acquire rejects the items of its batch, and those only", async () => {
  const { acquire, release, asked, released } = pool();
  const lab = new BatcherLab({ acquire, release, maxBatchItems: 2 });
  const added = lab.addMany("a", [1, 2, 3]);
  await lab.turn();
  const cause = new Error("pool is dry");
  asked[0]?.fail(cause);
  await lab.run();
  for (const item of added.slice(0, 2)) {
    const error = assertCode(item, "ERR_BATCHER_ACQUIRE_FAILED");
    assert.equal(error.cause, cause);
    assert.doesNotMatch(error.message, /dry/);
  }
  assert.equal(asked.length, 2, "the slot is free again and the third has its turn");
  asked[1]?.ok("fine");
  await lab.run();
  assert.deepEqual(lab.sealed, [[3]], "what failed to acquire is never processed");
  lab.batches[0]?.finish();
  await lab.run();
  assert.deepEqual(released, ["fine"]);
});

test("failing acquires fail one batch each: first all with the first error, then the second", async () => {
  let calls = 0;
  const lab = new BatcherLab({
    maxBatchItems: 2,
    acquire: () => {
      calls += 1;
      throw new Error(`acquire ${calls}`);
    },
  });
  const added = lab.addMany("a", [1, 2, 3, 4]);
  await lab.run();
  const causes = added.map(
    (item) => (assertCode(item, "ERR_BATCHER_ACQUIRE_FAILED").cause as Error).message,
  );
  assert.deepEqual(causes, ["acquire 1", "acquire 1", "acquire 2", "acquire 2"]);
  assert.equal(lab.batcher.stats().keys, 0);
});

test("acquire for nothing, because every item was cancelled, releases without processing", async () => {
  const { acquire, release, asked, released } = pool();
  const lab = new BatcherLab({ acquire, release });
  const controller = new AbortController();
  lab.add("a", 1, controller.signal);
  await lab.turn();
  controller.abort();
  asked[0]?.ok("unused");
  await lab.run();
  assert.equal(lab.batches.length, 0);
  assert.deepEqual(released, ["unused"]);
  assert.deepEqual([lab.batcher.stats().keys, lab.batcher.stats().batches], [0, 0]);
});

test("items do not wait for the release, the next batch of the key does", async () => {
  const { promise: releasing, resolve: released } = Promise.withResolvers<void>();
  const lab = new BatcherLab({ acquire: () => "r", release: () => releasing });
  const first = lab.add("a", 1);
  await lab.turn();
  lab.add("a", 2);
  lab.batches[0]?.finish();
  await lab.run();
  assert.equal(first.settled, "value");
  assert.deepEqual(lab.sealed, [[1]]);
  released();
  await lab.run();
  assert.deepEqual(lab.sealed, [[1], [2]]);
});

test("a release that fails is a warning, and frees the slot", async (t) => {
  const warn = t.mock.method(process, "emitWarning", () => {});
  const cause = new Error("cannot let go");
  const lab = new BatcherLab({ acquire: () => "r", release: () => Promise.reject(cause) });
  for (const item of [1, 2]) {
    const added = lab.add("a", item);
    await lab.turn();
    lab.batches.at(-1)?.finish();
    await lab.run();
    assert.equal(added.value, item);
  }
  assert.equal(lab.batcher.stats().keys, 0);
  assert.equal(warn.mock.callCount(), 1, "one warning, however often");
  const [warning] = warn.mock.calls[0]?.arguments ?? [];
  assert.equal((warning as Error | undefined)?.cause, cause);
});

test("closing while acquire runs waits for it, processes what is queued, and releases", async () => {
  const { acquire, release, asked, released } = pool();
  const lab = new BatcherLab({ acquire, release, workMs: 1 });
  const added = lab.add("a", 1);
  await lab.turn();
  let closed = false;
  void lab.batcher.close().then(() => {
    closed = true;
  });
  await lab.run();
  assert.equal(closed, false);
  asked[0]?.ok("late");
  await lab.run();
  assert.deepEqual([added.value, closed, released], [1, true, ["late"]]);
});

test("when draining takes too long, acquire is told by its signal", async () => {
  const { acquire, release, asked, released, signals } = pool();
  const lab = new BatcherLab({ acquire, release });
  const added = lab.add("a", 1);
  await lab.turn();
  const closed = assert.rejects(lab.batcher.close({ timeoutMs: 10 }), {
    code: "ERR_BATCHER_DRAIN_TIMEOUT",
    queued: 1,
    inFlight: 0,
  });
  await lab.advance(10);
  await closed;
  assertCode(added, "ERR_BATCHER_CLOSED");
  assert.equal(signals[0]?.aborted, true);
  asked[0]?.ok("too late");
  await lab.run();
  assert.equal(lab.batches.length, 0);
  assert.deepEqual(released, ["too late"]);
});
