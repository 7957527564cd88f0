/**
 * Cuts the power and kills the process at every instant of many runs of the log, and checks each
 * recovery: no acknowledged frame is lost, no refused frame returns, no number is used twice, no
 * mark goes back, and no damage is reported.
 *
 * Environment: POSTBAG_SEEDS multiplies the number of seeds for a longer run.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type HarnessOptions, JournalHarness } from "./harness.ts";

const seeds = Number(process.env.POSTBAG_SEEDS ?? 1);
const counted = { cuts: 0, kills: 0, acknowledged: 0, recovered: 0, voided: 0, full: 0, failed: 0 };

interface Ending {
  readonly cutAt?: number;
  readonly killAt?: number;
}

const turns = 24;

after(() => {
  console.log(
    `simulated: ${counted.cuts} power cuts, ${counted.kills} kills; ${counted.acknowledged} frames ` +
      `acknowledged, ${counted.recovered} recovered, ${counted.voided} void, refused: ` +
      `${counted.full} for lack of room, ${counted.failed} for failed writes`,
  );
});

/** Returns the number of instants of the first process at which it could have ended. */
async function playRun(options: HarnessOptions, ending: Ending): Promise<number> {
  const harness = new JournalHarness(options);
  try {
    harness.disk.cutAt = ending.cutAt;
    harness.disk.killAt = ending.killAt;
    await harness.runProcess(turns);
    const { instants } = harness.disk;
    assert.deepEqual(harness.leftOpen, [], "descriptors left open");
    const { disk } = harness;
    disk.cutAt = undefined;
    disk.killAt = undefined;
    if (ending.killAt !== undefined) {
      counted.kills += 1;
      if (harness.random.below(4) === 0) disk.dropCaches();
      // The next process sees the page cache; it is killed as well, sometimes during recovery.
      disk.killAt = disk.instants + 1 + harness.random.below(60);
      await harness.runProcess(turns / 4);
      disk.killAt = undefined;
      disk.cutAt = disk.instants + 1 + harness.random.below(120);
      await harness.runProcess(turns / 4);
    }
    for (const within of [60, 200]) {
      counted.cuts += 1;
      harness.cutPower();
      harness.disk.cutAt = 1 + harness.random.below(within);
      await harness.runProcess(turns / 4);
    }
    harness.cutPower();
    await harness.runProcess(1);
    counted.acknowledged += harness.expectations.acknowledged;
    counted.recovered += harness.expectations.recovered;
    counted.voided += harness.expectations.voided;
    counted.full += harness.counted.refusedFull;
    counted.failed += harness.counted.refusedWrite;
    return instants;
  } catch (error) {
    const last = harness.disk.trace.slice(-30).join("\n  ");
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${JSON.stringify({ ...options, ...ending })}: ${message}\n  ${last}`, {
      cause: error,
    });
  }
}

for (const faulty of [false, true]) {
  const disk = faulty ? "a failing disk" : "a good disk";

  test(`a cut at any instant on ${disk} loses and invents nothing`, async () => {
    for (let seed = 1; seed <= 2 * seeds; seed += 1) {
      const options = { seed, faulty };
      const instants = await playRun(options, {});
      for (let cutAt = 1; cutAt <= instants; cutAt += 1) await playRun(options, { cutAt });
    }
  });

  test(`kills at any instant on ${disk}, then a cut, lose and invent nothing`, async () => {
    for (let seed = 1; seed <= 2 * seeds; seed += 1) {
      const options = { seed: 1000 + seed, faulty };
      const instants = await playRun(options, {});
      for (let killAt = 1; killAt <= instants; killAt += 1) await playRun(options, { killAt });
    }
  });
}

test("many short runs on failing disks lose and invent nothing", async () => {
  for (let seed = 5000; seed < 5000 + 300 * seeds; seed += 1) {
    await playRun({ seed, faulty: true, maxSegments: 3 + (seed % 4) }, {});
  }
});

test("the sweep has at least the documented number of cuts and kills", () => {
  assert.ok(counted.cuts >= 1000, `${counted.cuts} cuts`);
  assert.ok(counted.kills >= 300, `${counted.kills} kills`);
  assert.ok(counted.voided > 0 && counted.failed > 0 && counted.full > 0, JSON.stringify(counted));
});
