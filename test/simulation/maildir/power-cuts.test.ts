/**
 * Cuts the power at every instant of many runs, and checks the remaining disk against the
 * expectations.
 *
 * Environment: POSTBAG_SEEDS multiplies the number of seeds for a longer run.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { NameOrder } from "../../support/sim-disk/mount.ts";
import { type Flushing, type HarnessOptions, MaildirHarness } from "./harness.ts";

const seeds = Number(process.env.POSTBAG_SEEDS ?? 1);
const counted = { cuts: 0, kills: 0, acknowledged: 0, refused: 0, files: 0 };

interface Ending {
  readonly cutAt?: number;
  readonly killAt?: number;
}

after(() => {
  console.log(
    `simulated: ${counted.cuts} power cuts, ${counted.kills} kills; checked on the disk: ` +
      `${counted.acknowledged} acknowledgements, ${counted.refused} refusals, ${counted.files} files`,
  );
});

async function play(options: HarnessOptions, ending: Ending, batches = 6): Promise<number> {
  const harness = new MaildirHarness(options);
  harness.disk.cutAt = ending.cutAt;
  harness.disk.killAt = ending.killAt;
  try {
    await harness.runProcess(batches);
    const { instants } = harness.disk;
    assert.deepEqual(harness.leftOpen, [], "descriptors left open");
    harness.disk.cutAt = undefined;
    harness.disk.killAt = undefined;
    if (ending.killAt !== undefined) {
      counted.kills += 1;
      harness.expectations.check(harness.disk);
      // Another process continues on the same disk, and the power is cut while it delivers.
      harness.disk.cutAt = harness.disk.instants + 1 + harness.random.below(120);
      await harness.runProcess(1);
      harness.disk.cutAt = undefined;
    }
    counted.cuts += 1;
    harness.cutPower();
    harness.expectations.check(harness.disk);
    // Delivery goes on after the cut, and the power is cut again.
    harness.disk.cutAt = 1 + harness.random.below(150);
    await harness.runProcess(1);
    counted.cuts += 1;
    harness.cutPower();
    harness.expectations.check(harness.disk);
    counted.acknowledged += harness.expectations.acknowledged;
    counted.refused += harness.expectations.refused;
    counted.files += harness.expectations.filesChecked;
    return instants;
  } catch (error) {
    const last = harness.disk.trace.slice(-12).join("\n  ");
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${JSON.stringify({ ...options, ...ending })}: ${message}\n  ${last}`, {
      cause: error,
    });
  }
}

const flushings: readonly Flushing[] = ["each", "bulk", "mixed"];
const orders: readonly NameOrder[] = ["any", "ordered"];

for (const flushing of flushings) {
  test(`${flushing}: a cut at any instant loses and tears no acknowledged message`, async () => {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const options = { seed, flushing };
      const instants = await play(options, {});
      for (let cutAt = 1; cutAt <= instants; cutAt += 1) await play(options, { cutAt });
    }
  });

  test(`${flushing}: a kill at any instant, then a cut, loses and tears no acknowledged message`, async () => {
    for (let seed = 1001; seed <= 1000 + seeds; seed += 1) {
      const options = { seed, flushing };
      const instants = await play(options, {});
      for (let killAt = 1; killAt <= instants; killAt += 1) await play(options, { killAt });
    }
  });

  // The seed chooses the failing calls, so each run has others.
  for (const names of orders) {
    test(`${flushing}, names ${names}: failing calls and a kill or cut lose no acknowledged message`, async () => {
      for (let seed = 1; seed <= 150 * seeds; seed += 1) {
        const options = { seed: 2000 + seed, flushing, names, faulty: true };
        const at = 1 + ((seed * 37) % 331);
        await play(options, seed % 3 === 0 ? { killAt: at } : { cutAt: at });
      }
    });
  }
}

test("names in order: a cut at every third instant loses no acknowledged message", async () => {
  for (let seed = 3001; seed <= 3000 + 3 * seeds; seed += 1) {
    const options = { seed, flushing: flushings[seed % 3]!, names: "ordered" as const };
    const instants = await play(options, {});
    for (let cutAt = 1 + (seed % 3); cutAt <= instants; cutAt += 3) await play(options, { cutAt });
  }
});

test("the sweep has at least 2000 cuts", () => {
  assert.ok(counted.cuts >= 2000, `${counted.cuts} cuts`);
  assert.ok(counted.acknowledged > counted.cuts, `${counted.acknowledged} acknowledgements`);
});
