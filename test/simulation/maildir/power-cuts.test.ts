/**
 * Cuts the power at every instant of many runs, and holds what is left against what was promised.
 *
 * Environment: POSTBAG_SEEDS multiplies the number of seeds for a longer run.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { NameOrder } from "../../support/sim-disk/mount.ts";
import { type Flushing, World, type WorldOptions } from "./harness.ts";

const seeds = Number(process.env.POSTBAG_SEEDS ?? 1);
const counted = { cuts: 0, kills: 0, acknowledged: 0, refused: 0, files: 0 };

interface Ending {
  readonly cutAt?: number;
  readonly killAt?: number;
}

after(() => {
  console.log(
    `simulated: ${counted.cuts} power cuts, ${counted.kills} kills; held against the disk: ` +
      `${counted.acknowledged} acknowledgements, ${counted.refused} refusals, ${counted.files} files`,
  );
});

async function play(options: WorldOptions, ending: Ending, batches = 6): Promise<number> {
  const world = new World(options);
  world.disk.cutAt = ending.cutAt;
  world.disk.killAt = ending.killAt;
  try {
    await world.live(batches);
    const { instants } = world.disk;
    assert.deepEqual(world.leftOpen, [], "descriptors left open");
    world.disk.cutAt = undefined;
    world.disk.killAt = undefined;
    if (ending.killAt !== undefined) {
      counted.kills += 1;
      world.expectations.check(world.disk);
      // Another process takes over the very same disk, and the power goes while it works.
      world.disk.cutAt = world.disk.instants + 1 + world.random.below(120);
      await world.live(1);
      world.disk.cutAt = undefined;
    }
    counted.cuts += 1;
    world.loseLife();
    world.expectations.check(world.disk);
    // Work goes on after the cut, and the power goes again.
    world.disk.cutAt = 1 + world.random.below(150);
    await world.live(1);
    counted.cuts += 1;
    world.loseLife();
    world.expectations.check(world.disk);
    counted.acknowledged += world.expectations.acknowledged;
    counted.refused += world.expectations.refused;
    counted.files += world.expectations.filesChecked;
    return instants;
  } catch (error) {
    const last = world.disk.trace.slice(-12).join("\n  ");
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${JSON.stringify({ ...options, ...ending })}: ${message}\n  ${last}`, {
      cause: error,
    });
  }
}

const flushings: readonly Flushing[] = ["each", "bulk", "mixed"];
const orders: readonly NameOrder[] = ["any", "ordered"];

for (const flushing of flushings) {
  test(`${flushing}: a cut at any instant loses no acknowledged message and tears none`, async () => {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const options = { seed, flushing };
      const instants = await play(options, {});
      for (let cutAt = 1; cutAt <= instants; cutAt += 1) await play(options, { cutAt });
    }
  });

  test(`${flushing}: a kill at any instant, then a cut, loses no acknowledged message and tears none`, async () => {
    for (let seed = 1001; seed <= 1000 + seeds; seed += 1) {
      const options = { seed, flushing };
      const instants = await play(options, {});
      for (let killAt = 1; killAt <= instants; killAt += 1) await play(options, { killAt });
    }
  });

  // Where the fault lies is drawn from the seed, so each run has another one.
  for (const names of orders) {
    test(`${flushing}, names ${names}: failing calls, then a kill or a cut, lose no acknowledged message`, async () => {
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
