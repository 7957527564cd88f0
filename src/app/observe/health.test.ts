import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { test } from "node:test";
import type { Clock } from "../../system/index.ts";
import { type HealthOptions, monitorHealth } from "./health.ts";

/** A clock that stands still until it is moved. */
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
    obstacles: () => [],
    tryToStore: async () => {},
    ...options,
  });
  return { ...made, ...time };
}

const fullDisk = Object.assign(new Error("no space"), { code: "ENOSPC" });

test("a server is ready until it is told to stop", async () => {
  const server = monitor();
  assert.deepEqual(await server.health(), { ready: true });
  server.stopping();
  assert.deepEqual(await server.health(), { ready: false, reason: "stopping" });
});

test("a failed disk is not ready until a try of its own succeeds", async () => {
  let works = false;
  const server = monitor({
    tryToStore: async () => {
      if (!works) throw fullDisk;
    },
  });
  server.storageFailed(fullDisk);
  assert.deepEqual(await server.health(), { ready: false, reason: "the disk fails (ENOSPC)" });
  works = true;
  assert.deepEqual(await server.health(), { ready: true });
});

test("a stored message says that the disk works again", async () => {
  const server = monitor({ tryToStore: () => Promise.reject(fullDisk) });
  server.storageFailed(fullDisk);
  server.stored();
  assert.deepEqual(await server.health(), { ready: true });
});

test("little free space is not ready, with both figures", async () => {
  const { ready, reason } = await monitor({ minFreeBytes: Number.MAX_SAFE_INTEGER }).health();
  assert.equal(ready, false);
  assert.match(reason ?? "", /^only \d+ bytes are free for mail, less than 9007199254740991$/);
});

test("deliveries that wait for five seconds without one ending mean a stalled disk", async () => {
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

test("a disk that hangs is asked once, however many ask, and nobody waits for it forever", async () => {
  let tries = 0;
  const server = monitor({
    tryToStore: () => {
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

test("an obstacle of the journal is told, as long as it is there", async () => {
  const obstacles = ["the disk refuses the journal's writes"];
  const server = monitor({ obstacles: () => obstacles });
  assert.deepEqual(await server.health(), {
    ready: false,
    reason: "the disk refuses the journal's writes",
  });
  obstacles.pop();
  assert.deepEqual(await server.health(), { ready: true });
});
