/**
 * Clocks that jump. Where the store's own clock does, leases get shorter or longer and the books agree all
 * the same; where only a worker's does, nothing happens at all.
 *
 * `POSTBAG_FAULT_ROUNDS=20` sends twenty times as many.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "../../support/seeded-random.ts";
import { faultLab, MovedClock, rounds, temporaryFile } from "./support/fault-harness.ts";
import { letter, letters } from "./support/outbox-expectations.ts";
import { openStoreAt } from "./support/place.ts";
import { onBothStores } from "./support/stores.ts";

const hour = 3_600_000;

onBothStores(({ name, newPlace, clockOf }) => {
  test("the store's clock jumps by an hour, at any step of any session: nothing is lost, or doubled unrecorded", async (t) => {
    const random = new SeededRandom(11);
    const place = await newPlace(t);
    const { clock, step } = clockOf(place);
    let ahead = 0;
    let set = Promise.resolve();
    const jump = (ms: number) => {
      ahead += ms;
      set = set.then(() => step(ms));
      return set;
    };
    const lab = await faultLab(t, {
      place,
      clock,
      sink: {
        answer: ({ nth }) => {
          if (nth % 4 === 0) void jump(random.next() < 0.5 ? -hour : hour);
          return undefined;
        },
      },
    });
    await lab.ledger.enqueue(...letters(30 * rounds));
    const workers = [lab.worker({ concurrency: 3 }), lab.worker({ concurrency: 3 })];
    for (let round = 0; round < 50 * rounds && !(await lab.ledger.isOver()); round += 1) {
      await Promise.all(workers.map((worker) => worker.tick()));
      await jump(hour);
    }
    assert.ok(await lab.ledger.isOver());
    await jump(Math.max(0, -ahead) + 100 * hour); // Past all that was dated ahead.
    await lab.ledger.check({ clockJumps: true });
  });

  if (name === "SQLite") return;
  test("a worker whose own clock jumps by an hour at every step sends each mail once, on record at the server's time", async (t) => {
    const random = new SeededRandom(12);
    const own = new MovedClock();
    const jump = () => {
      own.offsetMs = (random.next() - 0.5) * 2 * hour;
      return undefined;
    };
    const lab = await faultLab(t, { place: await newPlace(t), clock: own, sink: { answer: jump } });
    const before = await lab.store.now();
    const given = letters(30 * rounds);
    await lab.ledger.enqueue(...given);
    const workers = [0, 1].map(() => lab.worker({ concurrency: 3, clock: own, leaseMs: 30_000 }));
    for (let round = 0; round < 50 * rounds && !(await lab.ledger.isOver()); round += 1) {
      await Promise.all(workers.map((worker) => worker.tick()));
    }
    const found = await lab.ledger.check();
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    const attempts = [...found.attempts.values()].flat();
    assert.equal(attempts.length, given.length);
    const after = await lab.store.now();
    for (const { startedAtMs, finishedAtMs = 0 } of attempts) {
      // The start is the end less a duration, both in whole milliseconds.
      assert.ok(
        before - 1 <= startedAtMs && startedAtMs - 1 <= finishedAtMs && finishedAtMs <= after,
      );
    }
  });
});

test("SQLite: workers whose clocks differ by an hour share one file, and the books agree", async (t) => {
  const place = { kind: "sqlite", file: temporaryFile(t) } as const;
  const [early, late] = [new MovedClock(), new MovedClock()];
  late.offsetMs = hour;
  const lab = await faultLab(t, { place, clock: early });
  const ahead = await openStoreAt(place, late);
  await lab.ledger.enqueue(...Array.from({ length: 30 }, () => letter()));
  const workers = [lab.worker({ concurrency: 3 }), lab.worker({ concurrency: 3, store: ahead })];
  for (let round = 0; round < 50 && !(await lab.ledger.isOver()); round += 1) {
    await Promise.all(workers.map((worker) => worker.tick()));
    early.offsetMs += hour;
    late.offsetMs += hour;
  }
  await ahead.close();
  assert.ok(await lab.ledger.isOver());
  await lab.ledger.check({ clockJumps: true });
});
