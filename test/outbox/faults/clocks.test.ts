/** Clocks that jump: leases get shorter or longer, and the books agree all the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "../../support/seeded-random.ts";
import { faultLab, MovedClock, temporaryFile } from "./support/lab.ts";
import { letter } from "./support/ledger.ts";
import { openStoreAt } from "./support/place.ts";

test("a wall clock that jumps by an hour, at any step of any session, loses and doubles nothing unrecorded", async (t) => {
  const random = new SeededRandom(11);
  const clock = new MovedClock();
  const hour = 3_600_000;
  const lab = await faultLab(t, {
    clock,
    sink: {
      answer: ({ nth }) => {
        if (nth % 4 === 0) clock.offsetMs += random.next() < 0.5 ? -hour : hour;
        return undefined;
      },
    },
  });
  const letters = Array.from({ length: 30 }, (_, at) =>
    letter({ doubt: at % 2 === 0 ? "hold" : "resend" }),
  );
  await lab.ledger.enqueue(...letters);
  const workers = [lab.worker({ concurrency: 3 }), lab.worker({ concurrency: 3 })];
  for (let round = 0; round < 50 && !(await lab.ledger.isOver()); round += 1) {
    await Promise.all(workers.map((worker) => worker.tick()));
    clock.offsetMs += hour;
  }
  assert.ok(await lab.ledger.isOver());
  clock.offsetMs += 100 * hour; // Past all that was dated ahead.
  await lab.ledger.check();
});

test("workers whose clocks differ by an hour share one file, and the books agree", async (t) => {
  const place = { kind: "sqlite", file: temporaryFile(t) } as const;
  const [early, late] = [new MovedClock(), new MovedClock()];
  late.offsetMs = 3_600_000;
  const lab = await faultLab(t, { place, clock: early });
  const ahead = await openStoreAt(place, late);
  await lab.ledger.enqueue(...Array.from({ length: 30 }, () => letter()));
  const workers = [lab.worker({ concurrency: 3 }), lab.worker({ concurrency: 3, store: ahead })];
  for (let round = 0; round < 50 && !(await lab.ledger.isOver()); round += 1) {
    await Promise.all(workers.map((worker) => worker.tick()));
    early.offsetMs += 3_600_000;
    late.offsetMs += 3_600_000;
  }
  await ahead.close();
  assert.ok(await lab.ledger.isOver());
  await lab.ledger.check();
});
