import assert from "node:assert/strict";
import { test } from "node:test";
import { SimClock } from "../../test/support/sim-clock.ts";
import { within } from "./within.ts";

test("work that ends in time gives its value or its error, and leaves no timer", async () => {
  const clock = new SimClock();
  assert.equal(await within(Promise.resolve("done"), 5, "late", clock), "done");
  const failure = new Error("broken");
  await assert.rejects(within(Promise.reject(failure), 5, "late", clock), failure);
  assert.equal(clock.pendingTimers, 0);
});

test("work that takes too long gives the late value", async () => {
  const clock = new SimClock();
  const waited = within(new Promise(() => {}), 5, "late", clock);
  await clock.advance(5);
  assert.equal(await waited, "late");
  assert.equal(clock.pendingTimers, 0);
});
