/**
 * One run of delivery through the journal: a life that ends somewhere, and what comes after it:
 * recovery, recovery that is killed or cut off, more work, more cuts. Everything is drawn from the
 * seed.
 */
import assert from "node:assert/strict";
import { World, type WorldOptions } from "./harness.ts";

/** What all runs together have met. */
export const counted = { cuts: 0, kills: 0, acknowledged: 0, orphaned: 0, files: 0 };
export const recovered = { restored: 0, finished: 0, skipped: 0 };

export interface Ending {
  readonly cutAt?: number;
  readonly killAt?: number;
}

/** Answers at how many instants of the first life it could have ended. */
export async function play(options: WorldOptions, ending: Ending, batches = 4): Promise<number> {
  const world = new World(options);
  const { random } = world;
  world.disk.cutAt = ending.cutAt;
  world.disk.killAt = ending.killAt;
  try {
    await world.live(batches, random.below(2) ? "close" : "drop");
    const { instants } = world.disk;
    assert.deepEqual(world.leftOpen, [], "descriptors left open");
    world.disk.cutAt = undefined;
    world.disk.killAt = undefined;
    if (ending.killAt !== undefined) {
      counted.kills += 1;
      // Another process takes over what is cached; it is killed as well, often while it recovers.
      world.disk.killAt = world.disk.instants + 1 + random.below(150);
      await world.live(1, "drop");
      await world.recover();
      world.check();
      world.disk.cutAt = world.disk.instants + 1 + random.below(150);
      await world.live(1, "drop");
    }
    for (let cut = 0; cut < 2; cut += 1) {
      world.loseLife();
      counted.cuts += 1;
      if (random.below(2)) {
        // Recovery itself is cut off, or killed.
        const at = 1 + random.below(150);
        if (random.below(2)) world.disk.cutAt = at;
        else world.disk.killAt = at;
        await world.live(1, "drop");
        world.disk.killAt = undefined;
        counted.cuts += 1;
        world.loseLife();
      }
      await world.recover();
      world.check();
      world.disk.cutAt = world.disk.instants + 1 + random.below(200);
      await world.live(2, "drop");
    }
    world.loseLife();
    counted.cuts += 1;
    await world.recover();
    world.check();
    counted.acknowledged += world.ledger.acknowledged;
    counted.orphaned += world.ledger.orphaned;
    counted.files += world.ledger.filesChecked;
    for (const key of ["restored", "finished", "skipped"] as const) {
      recovered[key] += world.counted[key];
    }
    return instants;
  } catch (error) {
    const last = world.disk.trace.slice(-Number(process.env.POSTBAG_TRACE ?? 14)).join("\n  ");
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${JSON.stringify({ ...options, ...ending })}: ${message}\n  ${last}`, {
      cause: error,
    });
  }
}
