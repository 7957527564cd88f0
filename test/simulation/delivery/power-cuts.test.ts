/**
 * Cuts the power and kills the process at many instants of many runs of delivery through the
 * journal, recovers, and checks the disk against every promise.
 *
 * Half of the runs have two volumes. Names survive a cut in any combination, as on btrfs, or in the
 * order in which they were made, as on ext4 and XFS; in that order no durable action of a reader is
 * ever undone.
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
    `simulated: ${counted.cuts} power cuts, ${counted.kills} kills; checked on disk: ` +
      `${counted.acknowledged} acknowledgements, ${counted.orphaned} orphans, ${counted.files} files; ` +
      `recovered: ${JSON.stringify(recovered)}`,
  );
});

interface Sweep {
  readonly bulk: boolean;
  readonly names: NameOrder;
  readonly faulty: boolean;
  readonly schedules: number;
  /** Distance between the instants of a schedule; each schedule starts at another instant. */
  readonly step: number;
}

/** Healthy disks in a few schedules with close instants, failing disks in many schedules. */
const sweeps: readonly Sweep[] = [false, true].flatMap((bulk) =>
  (["any", "ordered"] as const).flatMap((names) => [
    { bulk, names, faulty: false, schedules: 3, step: 13 },
    { bulk, names, faulty: true, schedules: 12, step: 75 },
  ]),
);

for (const { schedules, step, ...options } of sweeps) {
  const flushes = options.bulk ? "bulk flushes" : "file flushes";
  const disk = options.faulty ? ", failing disk" : "";
  const name = `${flushes}, names ${options.names}${disk}`;

  test(`${name}: no cut breaks a promise`, async () => {
    for (let seed = 1; seed <= seeds * schedules; seed += 1) {
      const run = { ...options, seed, secondFileSystem: seed % 2 === 0 };
      const instants = await play(run, {});
      for (let cutAt = 1 + ((seed * 7) % step); cutAt <= instants; cutAt += step) {
        await play(run, { cutAt });
      }
    }
  });

  test(`${name}: no kill, then cut, breaks a promise`, async () => {
    for (let seed = 1001; seed <= 1000 + seeds * schedules; seed += 1) {
      const run = { ...options, seed, secondFileSystem: seed % 2 === 0 };
      const instants = await play(run, {});
      for (let killAt = 1 + ((seed * 7) % step); killAt <= instants; killAt += step) {
        await play(run, { killAt });
      }
    }
  });
}

test("the runs had at least 5,000 cuts and 500 messages of each recovery step", () => {
  assert.ok(counted.cuts >= 5000, `${counted.cuts} cuts`);
  assert.ok(counted.acknowledged > counted.cuts, `${counted.acknowledged} acknowledgements`);
  assert.ok(recovered.restored > 500 && recovered.finished > 500 && recovered.skipped > 500);
});
