import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { test } from "node:test";
import type { Clock } from "../../system/index.ts";
import { type HealthOptions, monitorHealth } from "./health.ts";

/** A clock that stands still until the test calls `move`. */
function handClock() {
  let nowMs = 0;
  const timers = new Map<object, { atMs: number; callback: () => void }>();
  const clock: Clock = {
    now: () => nowMs,
    wallTimeMs: () => nowMs,
    setTimeout: (callback, delayMs) => {
      const timer = {};
      timers.set(timer, { atMs: nowMs + delayMs, callback });
      return timer;
    },
    clearTimeout: (timer) => void timers.delete(timer as object),
    setImmediate: (callback) => void setImmediate(callback),
  };
  return {
    clock,
    move(byMs: number) {
      nowMs += byMs;
      for (const [timer, { atMs, callback }] of timers) {
        if (atMs > nowMs) continue;
        timers.delete(timer);
        callback();
      }
    },
  };
}

function monitor(options: Partial<HealthOptions> = {}) {
  const time = handClock();
  const made = monitorHealth({
    mailRoot: tmpdir(),
    minFreeBytes: 1,
    clock: time.clock,
    pending: () => 0,
    notReady: () => [],
    probeDisk: async () => {},
    ...options,
  });
  return { ...made, ...time };
}

const fullDisk = Object.assign(new Error("no space"), { code: "ENOSPC" });

test("a server is ready until it stops", async () => {
  const server = monitor();
  assert.deepEqual(await server.health(), { ready: true });
  server.stopping();
  assert.deepEqual(await server.health(), { ready: false, reason: "stopping" });
});

test("a server with a failed disk is not ready until its disk probe succeeds", async () => {
  let works = false;
  const server = monitor({
    probeDisk: async () => {
      if (!works) throw fullDisk;
    },
  });
  server.storageFailed(fullDisk);
  assert.deepEqual(await server.health(), { ready: false, reason: "the disk fails (ENOSPC)" });
  works = true;
  assert.deepEqual(await server.health(), { ready: true });
});

test("a server whose disk failed is ready again after it stored a message", async () => {
  const server = monitor({ probeDisk: () => Promise.reject(fullDisk) });
  server.storageFailed(fullDisk);
  server.stored();
  assert.deepEqual(await server.health(), { ready: true });
});

test("a nearly full disk is not ready, and the reason has both figures", async () => {
  const { ready, reason } = await monitor({ minFreeBytes: Number.MAX_SAFE_INTEGER }).health();
  assert.equal(ready, false);
  assert.match(reason ?? "", /^only \d+ bytes are free for mail, less than 9007199254740991$/);
});

test("a disk counts as stalled when no delivery ends for five seconds", async () => {
  let pending = 3;
  const server = monitor({ pending: () => pending });
  assert.equal((await server.health()).ready, true);
  server.move(5_000);
  assert.deepEqual(await server.health(), { ready: false, reason: "the disk does not answer" });
  server.stored();
  assert.equal((await server.health()).ready, true);
  server.move(5_000);
  pending = 0;
  assert.equal((await server.health()).ready, true);
});

test("health requests share one probe of a hung disk and end after five seconds", async () => {
  let tries = 0;
  const server = monitor({
    probeDisk: () => {
      tries += 1;
      return new Promise(() => {});
    },
  });
  server.storageFailed(fullDisk);
  const answers = [server.health(), server.health()];
  server.move(5_000);
  for (const answer of await Promise.all(answers)) {
    assert.deepEqual(answer, { ready: false, reason: "the disk does not answer" });
  }
  assert.equal(tries, 1);
});

test("a server is not ready while the journal has a reason, and ready afterwards", async () => {
  const reasons = ["the disk refuses the journal's writes"];
  const server = monitor({ notReady: () => reasons });
  assert.deepEqual(await server.health(), {
    ready: false,
    reason: "the disk refuses the journal's writes",
  });
  reasons.pop();
  assert.deepEqual(await server.health(), { ready: true });
});
