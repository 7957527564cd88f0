import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBudget } from "./memory-budget.ts";

const patient = new AbortController().signal;

/** Holds octets until it is told to end; notes when it begins. */
function holder(budget: MemoryBudget, begun: string[]) {
  return (name: string, bytes: number, signal = patient) => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const done = budget.hold(bytes, signal, () => {
      begun.push(name);
      return promise;
    });
    return { done, end: () => resolve(name) };
  };
}

/** Lets everything that can happen without a timer happen. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

test("no more octets are held than the budget has, and who waits is let in in order", async () => {
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

test("what is larger than the budget waits until it is alone, and then runs", async () => {
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

test("who gives up waiting holds nothing and keeps nobody waiting", async () => {
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

test("work that fails gives its octets back", async () => {
  const budget = new MemoryBudget(100);
  const failing = () => Promise.reject(new Error("broken"));
  await assert.rejects(budget.hold(100, patient, failing), /broken/);
  assert.equal(await budget.hold(100, patient, async () => "done"), "done");
});
