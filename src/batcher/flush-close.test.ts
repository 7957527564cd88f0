/** `flush` and `close`: what they start, what they wait for, what a timeout drops. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCode, BatcherHarness } from "../../test/support/batcher-harness.ts";
import { BatcherError } from "./index.ts";

/** Tracks whether a promise has resolved. */
function watch(promise: Promise<void>) {
  const watched = { done: false };
  void promise.then(() => {
    watched.done = true;
  });
  return watched;
}

const held = { holdUntilFull: true, maxBatchItems: 10 } as const;

test("flush starts held items and resolves when they are settled", async () => {
  const harness = new BatcherHarness(held);
  harness.add("a", 1);
  harness.add("b", 2);
  const flushed = watch(harness.batcher.flush());
  await harness.turn();
  assert.deepEqual(harness.sealed, [[1], [2]]);
  assert.equal(harness.batches[0]?.trigger, "flush");
  harness.batches[0]?.finish();
  await harness.run();
  assert.equal(flushed.done, false);
  harness.batches[1]?.fail(new Error("flush does not mind"));
  await harness.run();
  assert.equal(flushed.done, true);
});

test("flush of one key leaves other keys held", async () => {
  const harness = new BatcherHarness(held);
  harness.add("a", 1);
  harness.add("b", 2);
  const flushed = watch(harness.batcher.flush("a"));
  await harness.turn();
  harness.batches[0]?.finish();
  await harness.run();
  assert.deepEqual(harness.sealed, [[1]]);
  assert.equal(flushed.done, true);
});

test("items accepted after a flush neither extend it nor are started by it", async () => {
  const harness = new BatcherHarness(held);
  harness.add("a", 1);
  await harness.turn();
  const flushed = watch(harness.batcher.flush());
  await harness.turn();
  harness.add("a", 2);
  harness.batches[0]?.finish();
  await harness.run();
  assert.equal(flushed.done, true);
  assert.deepEqual(harness.sealed, [[1]], "the second is held again");
});

test("a second flush waits for the items of both", async () => {
  const harness = new BatcherHarness({ ...held, maxBatchItems: 1, holdUntilFull: false });
  harness.addMany("a", [1, 2]);
  await harness.turn();
  const flushed = watch(harness.batcher.flush("a"));
  const again = watch(harness.batcher.flush("a"));
  harness.batches[0]?.finish();
  await harness.turn();
  assert.equal(flushed.done, false);
  harness.batches[1]?.finish();
  await harness.run();
  assert.deepEqual([flushed.done, again.done], [true, true]);
});

test("a flush resolves when its remaining items are cancelled", async () => {
  const harness = new BatcherHarness(held);
  const controller = new AbortController();
  harness.add("a", 1, controller.signal);
  const flushed = watch(harness.batcher.flush());
  controller.abort();
  await harness.run();
  assert.equal(flushed.done, true);
});

test("flush of an empty batcher resolves at once", async () => {
  const harness = new BatcherHarness();
  await harness.batcher.flush();
  await harness.batcher.flush("unknown");
  assert.equal(harness.clock.pendingImmediates, 0);
});

test("close runs queued items, partial batches included, and refuses new ones", async () => {
  const harness = new BatcherHarness({ ...held, workMs: 5 });
  const added = harness.add("a", 1);
  const closed = watch(harness.batcher.close());
  const late = harness.add("a", 2);
  await harness.turn();
  assertCode(late, "ERR_BATCHER_CLOSED");
  assert.equal(closed.done, false);
  await harness.run();
  assert.deepEqual([added.value, closed.done], [1, true]);
  assert.equal(harness.batches[0]?.trigger, "close");
});

test("close under steady traffic ends, because new items are refused", async () => {
  const harness = new BatcherHarness({ workMs: 5 });
  let refused = 0;
  const send = (): void => {
    harness.batcher.add("a", "again").then(send, () => {
      refused += 1;
    });
  };
  for (let client = 0; client < 5; client += 1) send();
  await harness.advance(20);
  const closed = watch(harness.batcher.close());
  await harness.run();
  assert.deepEqual([closed.done, refused], [true, 5]);
});

test("close is idempotent: the same promise, and also [Symbol.asyncDispose]", async () => {
  const harness = new BatcherHarness({ workMs: 5 });
  harness.add("a", 1);
  const first = harness.batcher.close();
  assert.equal(harness.batcher.close({ timeoutMs: 1 }), first);
  assert.equal(harness.batcher[Symbol.asyncDispose](), first);
  await harness.run();
  await first;
  await harness.batcher.close();
});

test("adds that wait for room reject when the batcher closes", async () => {
  const harness = new BatcherHarness({ onFull: "wait", maxItems: 1, maxBatchItems: 1, workMs: 5 });
  const [first, second] = harness.addMany("a", [1, 2]);
  void harness.batcher.close();
  await harness.run();
  assert.equal(first?.value, 1);
  assertCode(second, "ERR_BATCHER_CLOSED");
});

test("after timeoutMs queued items reject, signals abort, items in flight get results", async () => {
  const harness = new BatcherHarness({ maxBatchItems: 1 });
  const [running, queued] = harness.addMany("a", [1, 2]);
  await harness.turn();
  const closed = harness.batcher.close({ timeoutMs: 10 });
  const rejected = assert.rejects(closed, (error: unknown) => {
    assert.ok(error instanceof BatcherError);
    assert.deepEqual(
      [error.code, error.queued, error.inFlight],
      ["ERR_BATCHER_DRAIN_TIMEOUT", 1, 1],
    );
    return true;
  });
  await harness.advance(9);
  assert.equal(harness.batches[0]?.batch.signal.aborted, false);
  await harness.advance(1);
  await rejected;
  assert.equal(harness.batches[0]?.batch.signal.aborted, true);
  assertCode(queued, "ERR_BATCHER_CLOSED");
  assert.equal(running?.settled, undefined);
  harness.batches[0]?.finish();
  await harness.run();
  assert.equal(running?.value, 1);
  assert.equal(harness.batcher.stats().keys, 0);
});

test("a close that drains in time leaves no timer behind", async () => {
  const harness = new BatcherHarness({ workMs: 5 });
  harness.add("a", 1);
  const closed = watch(harness.batcher.close({ timeoutMs: 1000 }));
  await harness.advance(5);
  assert.deepEqual([closed.done, harness.clock.pendingTimers], [true, 0]);
});

test("an invalid timeoutMs is refused and the batcher stays open", async () => {
  const harness = new BatcherHarness({ workMs: 5 });
  await assert.rejects(harness.batcher.close({ timeoutMs: -1 }), {
    code: "ERR_BATCHER_BAD_OPTION",
    message: /timeoutMs must be .*; got -1\./,
  });
  const added = harness.add("a", 1);
  await harness.run();
  assert.equal(added.value, 1);
});

test("close of an idle batcher resolves at once", async () => {
  const harness = new BatcherHarness();
  await harness.batcher.close({ timeoutMs: 10 });
  assert.equal(harness.clock.pendingTimers, 0);
});
