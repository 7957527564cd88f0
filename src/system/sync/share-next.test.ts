import assert from "node:assert/strict";
import { test } from "node:test";
import { shareNext } from "./share-next.ts";

function held() {
  const runs: PromiseWithResolvers<void>[] = [];
  const flush = shareNext(() => {
    const run = Promise.withResolvers<void>();
    runs.push(run);
    return run.promise;
  });
  return { runs, flush };
}

test("calls during a flush share the next one", async () => {
  const { runs, flush } = held();
  const first = flush();
  const late = [flush(), flush(), flush()];
  assert.equal(runs.length, 1, "the running flush may not cover their writes");
  runs[0]!.resolve();
  await first;
  await Promise.resolve();
  assert.equal(runs.length, 2);
  const last = flush();
  runs[1]!.resolve();
  await Promise.all(late);
  await new Promise(setImmediate);
  assert.equal(runs.length, 3);
  runs[2]!.resolve();
  await last;
  await flush.idle();
});

test("a failed flush fails its own callers and not those of the next one", async () => {
  const { runs, flush } = held();
  const first = flush();
  const second = flush();
  runs[0]!.reject(new Error("first"));
  await assert.rejects(first, /first/);
  await new Promise(setImmediate);
  runs[1]!.resolve();
  await second;
  assert.equal(runs.length, 2);
});

test("idle waits for the last flush, also for a failing one", async () => {
  const { runs, flush } = held();
  const outcomes = Promise.allSettled([flush(), flush()]);
  let idle = false;
  const waiting = flush.idle().then(() => {
    idle = true;
  });
  runs[0]!.resolve();
  await new Promise(setImmediate);
  assert.equal(idle, false);
  runs[1]!.reject(new Error("second"));
  await waiting;
  assert.deepEqual(
    (await outcomes).map(({ status }) => status),
    ["fulfilled", "rejected"],
  );
});
