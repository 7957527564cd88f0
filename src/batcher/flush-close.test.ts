import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCode, BatcherLab } from "../../test/support/batcher-harness.ts";
import { BatcherError } from "./index.ts";

/** Whether a promise has resolved, kept up to date. */
function watch(promise: Promise<void>) {
  const watched = { done: false };
  void promise.then(() => {
    watched.done = true;
  });
  return watched;
}

const held = { holdUntilFull: true, maxBatchItems: 10 } as const;

test("flush starts what is held, and resolves when all of it is settled", async () => {
  const lab = new BatcherLab(held);
  lab.add("a", 1);
  lab.add("b", 2);
  const flushed = watch(lab.batcher.flush());
  await lab.turn();
  assert.deepEqual(lab.sealed, [[1], [2]]);
  assert.equal(lab.batches[0]?.trigger, "flush");
  lab.batches[0]?.finish();
  await lab.run();
  assert.equal(flushed.done, false);
  lab.batches[1]?.fail(new Error("flush does not mind"));
  await lab.run();
  assert.equal(flushed.done, true);
});

test("flush of one key leaves the others held", async () => {
  const lab = new BatcherLab(held);
  lab.add("a", 1);
  lab.add("b", 2);
  const flushed = watch(lab.batcher.flush("a"));
  await lab.turn();
  lab.batches[0]?.finish();
  await lab.run();
  assert.deepEqual(lab.sealed, [[1]]);
  assert.equal(flushed.done, true);
});

test("items accepted after a flush neither extend it nor are pushed by it", async () => {
  const lab = new BatcherLab(held);
  lab.add("a", 1);
  await lab.turn();
  const flushed = watch(lab.batcher.flush());
  await lab.turn();
  lab.add("a", 2);
  lab.batches[0]?.finish();
  await lab.run();
  assert.equal(flushed.done, true);
  assert.deepEqual(lab.sealed, [[1]], "the second is held for company again");
});

test("a flush behind a flush in flight waits for both", async () => {
  const lab = new BatcherLab({ ...held, maxBatchItems: 1, holdUntilFull: false });
  lab.addMany("a", [1, 2]);
  await lab.turn();
  const flushed = watch(lab.batcher.flush("a"));
  const again = watch(lab.batcher.flush("a"));
  lab.batches[0]?.finish();
  await lab.turn();
  assert.equal(flushed.done, false);
  lab.batches[1]?.finish();
  await lab.run();
  assert.deepEqual([flushed.done, again.done], [true, true]);
});

test("a flush is over when the rest of what it waited for is cancelled", async () => {
  const lab = new BatcherLab(held);
  const controller = new AbortController();
  lab.add("a", 1, controller.signal);
  const flushed = watch(lab.batcher.flush());
  controller.abort();
  await lab.run();
  assert.equal(flushed.done, true);
});

test("with nothing to flush, flush resolves at once", async () => {
  const lab = new BatcherLab();
  await lab.batcher.flush();
  await lab.batcher.flush("nobody");
  assert.equal(lab.clock.pendingImmediates, 0);
});

test("close runs what is queued, partial batches included, and refuses new work at once", async () => {
  const lab = new BatcherLab({ ...held, workMs: 5 });
  const added = lab.add("a", 1);
  const closed = watch(lab.batcher.close());
  const late = lab.add("a", 2);
  await lab.turn();
  assertCode(late, "ERR_BATCHER_CLOSED");
  assert.equal(closed.done, false);
  await lab.run();
  assert.deepEqual([added.value, closed.done], [1, true]);
  assert.equal(lab.batches[0]?.trigger, "close");
});

test("close under steady traffic ends, because the traffic is refused", async () => {
  const lab = new BatcherLab({ workMs: 5 });
  let refused = 0;
  const send = (): void => {
    lab.batcher.add("a", "again").then(send, () => {
      refused += 1;
    });
  };
  for (let client = 0; client < 5; client += 1) send();
  await lab.advance(20);
  const closed = watch(lab.batcher.close());
  await lab.run();
  assert.deepEqual([closed.done, refused], [true, 5]);
});

test("close is idempotent: the same promise, and also [Symbol.asyncDispose]", async () => {
  const lab = new BatcherLab({ workMs: 5 });
  lab.add("a", 1);
  const first = lab.batcher.close();
  assert.equal(lab.batcher.close({ timeoutMs: 1 }), first);
  assert.equal(lab.batcher[Symbol.asyncDispose](), first);
  await lab.run();
  await first;
  await lab.batcher.close();
});

test("adds that wait for room reject when the batcher closes", async () => {
  const lab = new BatcherLab({ onFull: "wait", maxItems: 1, maxBatchItems: 1, workMs: 5 });
  const [first, second] = lab.addMany("a", [1, 2]);
  void lab.batcher.close();
  await lab.run();
  assert.equal(first?.value, 1);
  assertCode(second, "ERR_BATCHER_CLOSED");
});

test("after timeoutMs queued items reject, signals abort, and items in flight get the truth", async () => {
  const lab = new BatcherLab({ maxBatchItems: 1 });
  const [running, queued] = lab.addMany("a", [1, 2]);
  await lab.turn();
  const closed = lab.batcher.close({ timeoutMs: 10 });
  const rejected = assert.rejects(closed, (error: unknown) => {
    assert.ok(error instanceof BatcherError);
    assert.deepEqual(
      [error.code, error.queued, error.inFlight],
      ["ERR_BATCHER_DRAIN_TIMEOUT", 1, 1],
    );
    return true;
  });
  await lab.advance(9);
  assert.equal(lab.batches[0]?.batch.signal.aborted, false);
  await lab.advance(1);
  await rejected;
  assert.equal(lab.batches[0]?.batch.signal.aborted, true);
  assertCode(queued, "ERR_BATCHER_CLOSED");
  assert.equal(running?.settled, undefined);
  lab.batches[0]?.finish();
  await lab.run();
  assert.equal(running?.value, 1);
  assert.equal(lab.batcher.stats().keys, 0);
});

test("a close that drains in time leaves no timer behind", async () => {
  const lab = new BatcherLab({ workMs: 5 });
  lab.add("a", 1);
  const closed = watch(lab.batcher.close({ timeoutMs: 1000 }));
  await lab.advance(5);
  assert.deepEqual([closed.done, lab.clock.pendingTimers], [true, 0]);
});

test("a bad timeoutMs is refused, and closes nothing", async () => {
  const lab = new BatcherLab({ workMs: 5 });
  await assert.rejects(lab.batcher.close({ timeoutMs: -1 }), {
    code: "ERR_BATCHER_BAD_OPTION",
    message: /timeoutMs must be .*; got -1\./,
  });
  const added = lab.add("a", 1);
  await lab.run();
  assert.equal(added.value, 1);
});

test("closing while idle is over at once", async () => {
  const lab = new BatcherLab();
  await lab.batcher.close({ timeoutMs: 10 });
  assert.equal(lab.clock.pendingTimers, 0);
});
