/**
 * Cuts the power and kills the process at every instant of many runs of the log, and holds what is found
 * against what was promised: no acknowledged frame lost, no refused one back, no number used twice, no
 * mark gone back, and not a word of damage.
 *
 * Environment: POSTBAG_SEEDS multiplies the number of seeds for a longer run.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { World, type WorldOptions } from "./harness.ts";

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
      `${counted.full} for want of room, ${counted.failed} for failed writes`,
  );
});

/** Answers at how many instants of the first life it could have ended. */
async function play(options: WorldOptions, ending: Ending): Promise<number> {
  const world = new World(options);
  try {
    world.disk.cutAt = ending.cutAt;
    world.disk.killAt = ending.killAt;
    await world.live(turns);
    const { instants } = world.disk;
    assert.deepEqual(world.leftOpen, [], "descriptors left open");
    const { disk } = world;
    disk.cutAt = undefined;
    disk.killAt = undefined;
    if (ending.killAt !== undefined) {
      counted.kills += 1;
      if (world.random.below(4) === 0) disk.dropCaches();
      // The next process takes over what is cached; it is killed as well, at times while it recovers.
      disk.killAt = disk.instants + 1 + world.random.below(60);
      await world.live(turns / 4);
      disk.killAt = undefined;
      disk.cutAt = disk.instants + 1 + world.random.below(120);
      await world.live(turns / 4);
    }
    for (const within of [60, 200]) {
      counted.cuts += 1;
      world.loseLife();
      world.disk.cutAt = 1 + world.random.below(within);
      await world.live(turns / 4);
    }
    world.loseLife();
    await world.live(1);
    counted.acknowledged += world.ledger.acknowledged;
    counted.recovered += world.ledger.recovered;
    counted.voided += world.ledger.voided;
    counted.full += world.counted.refusedFull;
    counted.failed += world.counted.refusedWrite;
    return instants;
  } catch (error) {
    const last = world.disk.trace.slice(-30).join("\n  ");
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
      const instants = await play(options, {});
      for (let cutAt = 1; cutAt <= instants; cutAt += 1) await play(options, { cutAt });
    }
  });

  test(`kills at any instant on ${disk}, then a cut, lose and invent nothing`, async () => {
    for (let seed = 1; seed <= 2 * seeds; seed += 1) {
      const options = { seed: 1000 + seed, faulty };
      const instants = await play(options, {});
      for (let killAt = 1; killAt <= instants; killAt += 1) await play(options, { killAt });
    }
  });
}

test("many short runs on failing disks lose and invent nothing", async () => {
  for (let seed = 5000; seed < 5000 + 300 * seeds; seed += 1) {
    await play({ seed, faulty: true, maxSegments: 3 + (seed % 4) }, {});
  }
});

test("the sweep has at least the documented number of cuts and kills", () => {
  assert.ok(counted.cuts >= 1000, `${counted.cuts} cuts`);
  assert.ok(counted.kills >= 300, `${counted.kills} kills`);
  assert.ok(counted.voided > 0 && counted.failed > 0 && counted.full > 0, JSON.stringify(counted));
});
