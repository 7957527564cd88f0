/**
 * Cuts the power and kills the process at many instants of many runs of delivery through the
 * journal, recovers, and holds what is found against what was promised.
 *
 * Half of the runs have two mail file systems. Names survive a cut in any combination, as on btrfs,
 * or in the order in which they were made, as on ext4 and XFS; there nothing at all of what a
 * reader did and the disk has kept is ever undone.
 *
 * Environment: POSTBAG_SEEDS multiplies the number of seeds for a longer run.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { NameOrder } from "../../support/sim-disk/mount.ts";
import { counted, play, recovered } from "./random-run.ts";

const seeds = Number(process.env.POSTBAG_SEEDS ?? 1);

after(() => {
  console.log(
    `simulated: ${counted.cuts} power cuts, ${counted.kills} kills; held against the disk: ` +
      `${counted.acknowledged} acknowledgements, ${counted.orphaned} orphans, ${counted.files} files; ` +
      `recovered: ${JSON.stringify(recovered)}`,
  );
});

interface Sweep {
  readonly bulk: boolean;
  readonly names: NameOrder;
  readonly faulty: boolean;
  readonly schedules: number;
  /** Every so many instants of a schedule, and each schedule begins with another one. */
  readonly step: number;
}

/** Healthy disks in a few schedules at close distance, failing ones in many. */
const sweeps: readonly Sweep[] = [false, true].flatMap((bulk) =>
  (["any", "ordered"] as const).flatMap((names) => [
    { bulk, names, faulty: false, schedules: 3, step: 13 },
    { bulk, names, faulty: true, schedules: 12, step: 75 },
  ]),
);

for (const { schedules, step, ...options } of sweeps) {
  const flushed = options.bulk ? "whole file systems flushed" : "each file flushed";
  const disk = options.faulty ? ", a failing disk" : "";
  const name = `${flushed}, names ${options.names}${disk}`;
  const where = `at every ${step}th instant of ${schedules * seeds} schedules`;

  test(`${name}: a cut ${where} breaks no promise`, async () => {
    for (let seed = 1; seed <= seeds * schedules; seed += 1) {
      const run = { ...options, seed, secondFileSystem: seed % 2 === 0 };
      const instants = await play(run, {});
      for (let cutAt = 1 + ((seed * 7) % step); cutAt <= instants; cutAt += step) {
        await play(run, { cutAt });
      }
    }
  });

  test(`${name}: a kill ${where}, then a cut, breaks no promise`, async () => {
    for (let seed = 1001; seed <= 1000 + seeds * schedules; seed += 1) {
      const run = { ...options, seed, secondFileSystem: seed % 2 === 0 };
      const instants = await play(run, {});
      for (let killAt = 1 + ((seed * 7) % step); killAt <= instants; killAt += step) {
        await play(run, { killAt });
      }
    }
  });
}

test("the sweep was as large as it is said to be", () => {
  assert.ok(counted.cuts >= 5000, `${counted.cuts} cuts`);
  assert.ok(counted.acknowledged > counted.cuts, `${counted.acknowledged} acknowledgements`);
  assert.ok(recovered.restored > 500 && recovered.finished > 500 && recovered.skipped > 500);
});
