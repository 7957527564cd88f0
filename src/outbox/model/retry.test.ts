import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  hintMs,
  isGreylisting,
  mtaRetry,
  policyDelayMs,
  type RetryPolicy,
  referenceRetry,
  retryDelayMs,
} from "./retry.ts";

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const low = () => 0;
const middle = () => 0.5;
const high = () => 1 - 2 ** -53;
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test("the reference back-off is right at its corners and both ends of the jitter", () => {
  const at = (n: number) => [low, middle, high].map((u) => policyDelayMs(referenceRetry, n, u));
  const near = (delays: readonly number[], expected: readonly number[]) => {
    delays.forEach((delay, index) => {
      assert.ok(Math.abs(delay - (expected[index] as number)) < 0.01, `${delays} for ${expected}`);
    });
  };
  near(at(0), [5 * second, 5 * second, 5 * second]);
  near(at(1), [5 * second, 5 * second, 6.25 * second]);
  near(at(2), [7.5 * second, 10 * second, 12.5 * second]);
  near(at(10), [0.75 * 2560 * second, 2560 * second, 1.25 * 2560 * second]);
  near(at(11), [45 * minute, hour, 75 * minute]);
  near(at(60), [45 * minute, hour, 75 * minute]);
});

test("the reference back-off equals its formula for every attempt and draw", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 200 }), chance, (n, u) => {
      const middle = Math.min(5 * second * 2 ** (n - 1), hour);
      const expected = Math.max(5 * second, middle * (0.75 + 0.5 * u));
      assert.ok(Math.abs(policyDelayMs(referenceRetry, n, () => u) - expected) < 1e-6);
    }),
  );
});

test("the mta policy draws within a fifth of each step and repeats the last step", () => {
  const minutes = [5, 10, 20, 40, 90, 180, 180, 180];
  minutes.forEach((step, index) => {
    const n = index + 1;
    const least = policyDelayMs(mtaRetry, n, low) / minute;
    const most = policyDelayMs(mtaRetry, n, high) / minute;
    assert.ok(Math.abs(least - Math.max(5, step * 0.8)) < 1e-6, `attempt ${n}: ${least}`);
    assert.ok(Math.abs(most - step * 1.2) < 1e-6, `attempt ${n}: ${most}`);
  });
});

test("the mta policy stays within its bounds and draws evenly up to them", () => {
  assert.equal(policyDelayMs({ ...mtaRetry, stepsMs: [] } as RetryPolicy, 1, low), 5 * minute);
  const tight: RetryPolicy = { ...mtaRetry, minMs: 5 * minute, maxMs: 3 * hour } as RetryPolicy;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 50 }), chance, chance, (n, u, v) => {
      const delay = policyDelayMs(tight, n, () => u);
      assert.ok(delay >= 5 * minute && delay <= 3 * hour);
      const other = policyDelayMs(tight, n, () => v);
      if (Math.abs(u - v) > 1e-6) assert.notEqual(delay, other, "draws collapse at a bound");
    }),
  );
});

test("the delay that a reply names is read", () => {
  const hints: readonly [string, number | undefined][] = [
    ["Greylisted, please try again in 300 seconds", 300 * second],
    ["try again in 5 minutes", 5 * minute],
    ["Try again after 2 hours", 2 * hour],
    ["please retry in 45 sec", 45 * second],
    ["wait 10 min", 10 * minute],
    ["4.7.1 greylisted retry=180", 180 * second],
    ["come back in 1 h", hour],
    ["retry=0", undefined],
    ["mailbox busy", undefined],
    ["try again later", undefined],
    ["message 12 of 30 minutes", undefined],
    ["try again in 900000 hours", 24 * hour],
  ];
  for (const [text, expected] of hints) assert.equal(hintMs(text), expected, text);
});

const reply = (text: string, code = 451) => ({ code, text, phase: "rcpt" }) as const;

test("a hint replaces the policy's delay and is never undercut", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), chance, (n, u) => {
      const delay = retryDelayMs(mtaRetry, n, () => u, reply("try again in 60 seconds"));
      assert.ok(delay >= minute && delay <= 1.1 * minute, `${delay}`);
    }),
  );
});

test("a hint of seconds is raised to a minute or the policy's minimum", () => {
  const soon = reply("451 try again in 1 second");
  assert.equal(retryDelayMs(mtaRetry, 1, low, soon), minute);
  assert.equal(retryDelayMs(referenceRetry, 1, low, soon), 5 * second);
});

test("greylisting waits at least five minutes under any policy", () => {
  for (const text of ["Greylisted", "450 graylisting in action", "grey-listed", "Grey listed"]) {
    assert.ok(isGreylisting(reply(text)), text);
    const delay = retryDelayMs(referenceRetry, 1, low, reply(text));
    assert.ok(delay >= 5 * minute && delay <= 5.5 * minute, `${text}: ${delay}`);
  }
  assert.equal(isGreylisting(reply("greylisted", 550)), false);
  assert.ok(retryDelayMs(referenceRetry, 1, low, reply("greylisted, retry=10")) >= 5 * minute);
});

test("delays are whole milliseconds", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 20 }), chance, (n, u) => {
      for (const policy of [referenceRetry, mtaRetry]) {
        assert.ok(Number.isSafeInteger(retryDelayMs(policy, n, () => u)));
      }
    }),
  );
});
