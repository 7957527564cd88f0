/**
 * Cuts the power and kills the process at every instant of many runs of delivery through the journal,
 * recovers, and holds what is found against what was promised.
 *
 * Environment: POSTBAG_SEEDS multiplies the number of seeds for a longer run.
 */
import { after, test } from "node:test";
import { counted, play, recovered } from "./journal-delivery-play.ts";

const seeds = Number(process.env.POSTBAG_SEEDS ?? 1);
const step = Number(process.env.POSTBAG_STEP ?? 1);

after(() => {
  console.log(
    `simulated: ${counted.cuts} power cuts, ${counted.kills} kills; held against the disk: ` +
      `${counted.acknowledged} acknowledgements, ${counted.orphaned} orphans, ${counted.files} files; ` +
      `recovered: ${JSON.stringify(recovered)}`,
  );
});

const runs = [
  { name: "each file flushed", bulk: false, faulty: false },
  { name: "whole file systems flushed", bulk: true, faulty: false },
  { name: "each file flushed, a failing disk", bulk: false, faulty: true },
  { name: "whole file systems flushed, a failing disk", bulk: true, faulty: true },
];

for (const { name, ...options } of runs) {
  test(`${name}: a cut at any instant breaks no promise`, async () => {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const instants = await play({ ...options, seed }, {});
      for (let cutAt = 1; cutAt <= instants; cutAt += step) {
        await play({ ...options, seed }, { cutAt });
      }
    }
  });

  test(`${name}: a kill at any instant, then a cut, breaks no promise`, async () => {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const instants = await play({ ...options, seed: 1000 + seed }, {});
      for (let killAt = 1; killAt <= instants; killAt += step) {
        await play({ ...options, seed: 1000 + seed }, { killAt });
      }
    }
  });
}
