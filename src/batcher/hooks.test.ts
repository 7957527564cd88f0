/** Hooks, `captureContext`, and the async context in which user code runs. */
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { test } from "node:test";
import { BatcherHarness } from "../../test/support/batcher-harness.ts";
import { Batcher, fail } from "./index.ts";

test("hooks report each batch: trigger, durations, failures", async () => {
  const reported: unknown[] = [];
  const harness = new BatcherHarness({
    lingerMs: 10,
    sizeOf: Number,
    name: "outbox",
    hooks: {
      onBatchStart: (batch) => reported.push(batch),
      onBatchEnd: (batch) => reported.push(batch),
    },
  });
  harness.addMany("a", [3, 4]);
  await harness.advance(10);
  harness.clock.advance(7);
  harness.batches[0]?.finish([3, fail("no")]);
  await harness.run();
  const start = {
    key: "a",
    id: 1,
    trigger: "linger",
    items: 2,
    bytes: 7,
    oldestWaitMs: 10,
    acquireMs: 0,
  };
  assert.deepEqual(reported, [start, { ...start, outcome: "ok", failedItems: 1, processMs: 7 }]);
});

test("onBatchEnd reports a failed acquire and its duration", async () => {
  const reported: unknown[] = [];
  const harness = new BatcherHarness({
    acquire: () => {
      harness.clock.advance(5);
      throw new Error("no");
    },
    hooks: {
      onBatchStart: (batch) => reported.push(batch),
      onBatchEnd: (batch) => reported.push(batch),
    },
  });
  harness.add("a", 1);
  await harness.run();
  assert.deepEqual(reported, [
    {
      key: "a",
      id: 1,
      trigger: "idle",
      items: 1,
      bytes: 0,
      oldestWaitMs: 5,
      acquireMs: 5,
      outcome: "acquire-failed",
      failedItems: 1,
      processMs: 0,
    },
  ]);
});

test("acquireMs is the duration of acquire", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const reported: number[] = [];
  const harness = new BatcherHarness({
    acquire: () => promise,
    hooks: { onBatchStart: ({ acquireMs }) => reported.push(acquireMs) },
  });
  harness.add("a", 1);
  await harness.turn();
  harness.clock.advance(8);
  resolve();
  await harness.run();
  assert.deepEqual(reported, [8]);
});

test("onReject reports refusals and the items that close drops", async () => {
  const reported: string[] = [];
  const harness = new BatcherHarness({
    maxItems: 2,
    maxBatchItems: 1,
    hooks: { onReject: (key, error) => reported.push(`${key} ${error.code}`) },
  });
  for (const key of ["a", "a", "b"]) harness.add(key, 1);
  await harness.turn();
  harness.batcher.close({ timeoutMs: 1 }).catch(() => {});
  harness.add("c", 1);
  await harness.advance(1);
  assert.deepEqual(reported, [
    "b ERR_BATCHER_FULL",
    "c ERR_BATCHER_CLOSED",
    "a ERR_BATCHER_CLOSED",
  ]);
});

test("hooks and captureContext that throw or reject change nothing and warn once", async (t) => {
  const warn = t.mock.method(process, "emitWarning", () => {});
  const throwing = () => {
    throw new Error("from a hook");
  };
  const harness = new BatcherHarness({
    workMs: 1,
    maxItems: 1,
    maxBatchItems: 1,
    captureContext: throwing,
    hooks: {
      onBatchStart: throwing,
      onBatchEnd: () => Promise.reject(new Error("later")) as never,
      onReject: throwing,
    },
  });
  for (const item of [1, 2]) {
    const added = harness.add("a", item);
    harness.add("a", "refused");
    await harness.run();
    assert.equal(added.value, item);
  }
  assert.equal(warn.mock.callCount(), 1);
});

test("captureContext is called in add; batch.contexts has the order of the items", async () => {
  const span = new AsyncLocalStorage<string>();
  const harness = new BatcherHarness({ captureContext: () => span.getStore() });
  span.run("request 1", () => harness.add("a", 1));
  span.run("request 2", () => harness.add("a", 2));
  await harness.turn();
  assert.deepEqual(harness.batches[0]?.batch.contexts, ["request 1", "request 2"]);
});

test("user code runs in the constructor's async context, callers in their own", async () => {
  const request = new AsyncLocalStorage<string>();
  const seen: string[] = [];
  const note = (what: string) => {
    seen.push(`${what} ${request.getStore()}`);
  };
  const batcher = request.run("constructor", () => {
    return new Batcher<string, number, number, number>({
      maxItems: 2,
      maxBatchItems: 1,
      acquire: async () => {
        note("acquire");
        return 1;
      },
      release: () => note("release"),
      process: async ({ items, signal }) => {
        note("process");
        signal.addEventListener("abort", () => note("abort"));
        await Promise.resolve();
        note("process, later");
        return items;
      },
      hooks: {
        onBatchStart: () => note("start"),
        onBatchEnd: () => note("end"),
        onReject: () => note("reject"),
      },
    });
  });
  const controller = new AbortController();
  const caller = (name: string, signal?: AbortSignal) =>
    request.run(name, async () => {
      await batcher.add("a", 1, { signal }).catch(() => {});
      assert.equal(request.getStore(), name);
    });
  await Promise.all([caller("first", controller.signal), caller("second"), caller("third")]);
  request.run("aborter", () => controller.abort());
  assert.ok(seen.length > 8, String(seen));
  for (const what of [
    "acquire",
    "process",
    "process, later",
    "release",
    "start",
    "end",
    "reject",
  ]) {
    assert.ok(seen.includes(`${what} constructor`), what);
  }
  assert.deepEqual(
    seen.filter((line) => !line.endsWith("constructor")),
    [],
  );
});

test("listeners of batch.signal run in the constructor's async context", async () => {
  const request = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  const harness = request.run("constructor", () => new BatcherHarness());
  const controller = new AbortController();
  request.run("caller", () => harness.add("a", 1, controller.signal));
  await harness.turn();
  harness.batches[0]?.batch.signal.addEventListener("abort", () => seen.push(request.getStore()));
  request.run("caller", () => controller.abort());
  assert.deepEqual(seen, ["constructor"]);
});
