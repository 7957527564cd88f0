import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBudget } from "./memory-budget.ts";

const notAborted = new AbortController().signal;

/** Starts work that ends when asked; notes its name when it begins. */
function holder(budget: MemoryBudget, begun: string[]) {
  return (name: string, bytes: number, signal = notAborted) => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const done = budget.hold(bytes, signal, () => {
      begun.push(name);
      return promise;
    });
    return { done, end: () => resolve(name) };
  };
}

/** Resolves after everything that needs no timer. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

test("work beyond the budget waits and starts in order of arrival", async () => {
  const begun: string[] = [];
  const hold = holder(new MemoryBudget(100), begun);
  const [a, b, c, d] = [hold("a", 60), hold("b", 40), hold("c", 50), hold("d", 10)];
  await settled();
  assert.deepEqual(begun, ["a", "b"]);
  b.end();
  await settled();
  assert.deepEqual(begun, ["a", "b"], "d would fit, and would starve c");
  a.end();
  await settled();
  assert.deepEqual(begun, ["a", "b", "c", "d"]);
  c.end();
  d.end();
  assert.deepEqual(await Promise.all([a.done, b.done, c.done, d.done]), ["a", "b", "c", "d"]);
});

test("work larger than the budget waits until it is alone, and then runs", async () => {
  const begun: string[] = [];
  const hold = holder(new MemoryBudget(100), begun);
  const [a, b, c] = [hold("a", 1), hold("b", 1_000), hold("c", 1)];
  a.end();
  await settled();
  assert.deepEqual(begun, ["a", "b"]);
  b.end();
  c.end();
  await Promise.all([b.done, c.done]);
  assert.deepEqual(begun, ["a", "b", "c"]);
});

test("work aborted while waiting frees its place in the queue", async () => {
  const begun: string[] = [];
  const hold = holder(new MemoryBudget(100), begun);
  const impatient = new AbortController();
  const [a, b, c] = [hold("a", 60), hold("b", 80, impatient.signal), hold("c", 40)];
  await settled();
  impatient.abort(new Error("enough"));
  await assert.rejects(b.done, /enough/);
  await settled();
  assert.deepEqual(begun, ["a", "c"]);
  await assert.rejects(hold("d", 80, impatient.signal).done, /enough/);
  a.end();
  c.end();
  await Promise.all([a.done, c.done]);
  const e = hold("e", 100);
  e.end();
  assert.equal(await e.done, "e");
});

test("work that fails frees its bytes", async () => {
  const budget = new MemoryBudget(100);
  const failing = () => Promise.reject(new Error("broken"));
  await assert.rejects(budget.hold(100, notAborted, failing), /broken/);
  assert.equal(await budget.hold(100, notAborted, async () => "done"), "done");
});
