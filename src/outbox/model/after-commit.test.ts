import assert from "node:assert/strict";
import { test } from "node:test";
import { SimClock } from "../../../test/support/sim-clock.ts";
import { mail } from "../../../test/support/worker-harness.ts";
import { AfterCommit } from "./after-commit.ts";

const normal = mail(["b@x.example"]);
const bulk = mail(["b@x.example"], { lane: "bulk" });

test("mail is announced three times with all its lanes, then no more", () => {
  const clock = new SimClock();
  const announced: string[] = [];
  const soon = new AfterCommit(clock, (lanes) =>
    announced.push(`${clock.now()} ${lanes.map(({ lane }) => lane)}`),
  );
  soon.expect([normal, bulk]);
  clock.advance(10_000);
  soon.expect([normal]);
  clock.advance(5);
  soon.close();
  assert.deepEqual(announced, [
    "5 normal,bulk",
    "55 normal,bulk",
    "305 normal,bulk",
    "10005 normal",
  ]);
  assert.equal(clock.pendingTimers, 0);
});

test("a fast series of transactions does not postpone the announcement", () => {
  const clock = new SimClock();
  let count = 0;
  const soon = new AfterCommit(clock, () => (count += 1));
  for (let ms = 0; ms < 100; ms += 1) {
    soon.expect([normal]);
    clock.advance(1);
  }
  assert.ok(count >= 15 && count <= 20, `${count} announcements`);
  soon.close();
});
