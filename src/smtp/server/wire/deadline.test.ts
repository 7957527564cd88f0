import assert from "node:assert/strict";
import { test } from "node:test";
import { SimClock } from "../../../../test/support/sim-clock.ts";
import { Deadline } from "./deadline.ts";

function started() {
  const clock = new SimClock();
  const passed: number[] = [];
  return { clock, passed, deadline: new Deadline(clock, () => passed.push(clock.now())) };
}

test("a deadline that is moved keeps one timer and passes at the instant set last", () => {
  const { clock, passed, deadline } = started();
  const from = clock.now();
  for (let index = 0; index < 5; index += 1) {
    deadline.set(100);
    assert.equal(clock.pendingTimers, 1);
    clock.advance(60);
  }
  assert.deepEqual(passed, []);
  clock.advance(40);
  assert.deepEqual(passed, [from + 340]);
});

test("an earlier deadline does not wait for the timer of the later one", () => {
  const { clock, passed, deadline } = started();
  deadline.set(1_000);
  deadline.set(10);
  clock.advance(10);
  assert.equal(passed.length, 1);
  clock.advance(2_000);
  assert.equal(passed.length, 1);
});

test("a suspended deadline does not pass", () => {
  const { clock, passed, deadline } = started();
  deadline.set(100);
  deadline.suspend();
  clock.advance(1_000);
  assert.deepEqual(passed, []);
  deadline.set(100);
  clock.advance(99);
  assert.deepEqual(passed, []);
  clock.advance(1);
  assert.equal(passed.length, 1);
});

test("an ended deadline leaves no timer", () => {
  const { clock, deadline } = started();
  deadline.set(100);
  deadline.end();
  assert.equal(clock.pendingTimers, 0);
});
