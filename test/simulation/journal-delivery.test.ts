/**
 * Cuts the power and kills the process at every instant of many runs of delivery through the journal,
 * recovers, and holds what is found against what was promised.
 *
 * Environment: POSTBAG_SEEDS multiplies the number of seeds for a longer run.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { counted, play, recovered } from "./journal-delivery-play.ts";

const seeds = Number(process.env.POSTBAG_SEEDS ?? 1);

after(() => {
  console.log(
    `simulated: ${counted.cuts} power cuts, ${counted.kills} kills; held against the disk: ` +
      `${counted.acknowledged} acknowledgements, ${counted.orphaned} orphans, ${counted.files} files; ` +
      `recovered: ${JSON.stringify(recovered)}`,
  );
});

/** Healthy disks are cut at every second instant, failing ones in many short runs. */
const runs = [
  { name: "each file flushed", bulk: false, faulty: false, lives: 1, step: 2 },
  { name: "whole file systems flushed", bulk: true, faulty: false, lives: 1, step: 2 },
  { name: "each file flushed, a failing disk", bulk: false, faulty: true, lives: 20, step: 50 },
  {
    name: "whole file systems flushed, a failing disk",
    bulk: true,
    faulty: true,
    lives: 20,
    step: 50,
  },
];

for (const { name, lives, step, ...options } of runs) {
  test(`${name}: a cut at any instant breaks no promise`, async () => {
    for (let seed = 1; seed <= seeds * lives; seed += 1) {
      const instants = await play({ ...options, seed }, {});
      for (let cutAt = 1 + (seed % step); cutAt <= instants; cutAt += step) {
        await play({ ...options, seed }, { cutAt });
      }
    }
  });

  test(`${name}: a kill at any instant, then a cut, breaks no promise`, async () => {
    for (let seed = 1001; seed <= 1000 + seeds * lives; seed += 1) {
      const instants = await play({ ...options, seed }, {});
      for (let killAt = 1 + (seed % step); killAt <= instants; killAt += step) {
        await play({ ...options, seed }, { killAt });
      }
    }
  });
}

test("the sweep was as large as it is said to be", () => {
  assert.ok(counted.cuts >= 5000, `${counted.cuts} cuts`);
  assert.ok(counted.acknowledged > counted.cuts, `${counted.acknowledged} acknowledgements`);
  assert.ok(recovered.restored > 500 && recovered.finished > 500 && recovered.skipped > 500);
});
