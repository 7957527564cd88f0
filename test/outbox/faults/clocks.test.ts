/**
 * Clocks that jump. When the clock of the store jumps, leases become shorter or longer, and the
 * attempts in the store still agree with the mail that the server got. A jump of a worker's clock
 * alone changes nothing.
 *
 * `POSTBAG_FAULT_ROUNDS=20` sends twenty times as many.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "../../support/seeded-random.ts";
import { faultHarness, rounds, temporaryFile } from "./support/fault-harness.ts";
import { newMessage, newMessages } from "./support/outbox-expectations.ts";
import { MovedClock, sqliteClock } from "./support/store-clock.ts";
import { openStoreAt } from "./support/store-location.ts";
import { onBothStores } from "./support/stores.ts";

const hourMs = 3_600_000;

onBothStores(({ name, newLocation, clockOf }) => {
  test("a store clock that jumps by an hour at any step loses no mail", async (t) => {
    const random = new SeededRandom(11);
    const location = await newLocation(t);
    const storeClock = clockOf(location);
    let aheadMs = 0;
    let set = Promise.resolve();
    const jump = (ms: number) => {
      aheadMs += ms;
      set = set.then(() => storeClock.step(ms));
      return set;
    };
    const { expectations, ...harness } = await faultHarness(t, {
      location,
      storeClock,
      sink: {
        answer: ({ nth }) => {
          if (nth % 4 === 0) void jump(random.next() < 0.5 ? -hourMs : hourMs);
          return undefined;
        },
      },
    });
    await expectations.enqueue(...newMessages(30 * rounds));
    const workers = [harness.worker({ concurrency: 3 }), harness.worker({ concurrency: 3 })];
    for (let round = 0; round < 50 * rounds && !(await expectations.haveEnded()); round += 1) {
      await Promise.all(workers.map((worker) => worker.tick()));
      await jump(hourMs);
    }
    assert.ok(await expectations.haveEnded());
    await jump(Math.max(0, -aheadMs) + 100 * hourMs); // Past every instant that was dated ahead.
    await expectations.check({ clockJumps: true });
  });

  if (name === "SQLite") return;
  test("a worker whose own clock jumps by an hour at every step sends each mail once", async (t) => {
    const random = new SeededRandom(12);
    const own = new MovedClock();
    const jump = () => {
      own.offsetMs = (random.next() - 0.5) * 2 * hourMs;
      return undefined;
    };
    const { expectations, store, ...harness } = await faultHarness(t, {
      location: await newLocation(t),
      storeClock: { clock: own, step: async () => {} },
      sink: { answer: jump },
    });
    const before = await store.now();
    const given = newMessages(30 * rounds);
    await expectations.enqueue(...given);
    const workers = [0, 1].map(() => harness.worker({ concurrency: 3, clock: own }));
    for (let round = 0; round < 50 * rounds && !(await expectations.haveEnded()); round += 1) {
      await Promise.all(workers.map((worker) => worker.tick()));
    }
    const found = await expectations.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    const attempts = [...found.attempts.values()].flat();
    assert.equal(attempts.length, given.length);
    // The record has the time of the server.
    const after = await store.now();
    for (const { startedAtMs, finishedAtMs = 0 } of attempts) {
      // The start is the end less a duration, both in whole milliseconds.
      assert.ok(before - 1 <= startedAtMs && startedAtMs - 1 <= finishedAtMs);
      assert.ok(finishedAtMs <= after);
    }
  });
});

test("SQLite: workers whose clocks differ by an hour share one file and lose no mail", async (t) => {
  const location = { kind: "sqlite", file: temporaryFile(t) } as const;
  const [early, late] = [sqliteClock(), sqliteClock(hourMs)];
  const { expectations, ...harness } = await faultHarness(t, { location, storeClock: early });
  const ahead = await openStoreAt(location, late.clock);
  await expectations.enqueue(...Array.from({ length: 30 }, () => newMessage()));
  const workers = [
    harness.worker({ concurrency: 3 }),
    harness.worker({ concurrency: 3, store: ahead }),
  ];
  for (let round = 0; round < 50 && !(await expectations.haveEnded()); round += 1) {
    await Promise.all(workers.map((worker) => worker.tick()));
    await early.step(hourMs);
    await late.step(hourMs);
  }
  await ahead.close();
  assert.ok(await expectations.haveEnded());
  await expectations.check({ clockJumps: true });
});
