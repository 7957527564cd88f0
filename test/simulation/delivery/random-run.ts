/**
 * One random run of delivery through the journal, for power-cuts.test.ts: a process that ends at
 * some instant, then recovery, recovery that is killed or cut off, more deliveries, more cuts. The
 * seed decides all of it.
 */
import assert from "node:assert/strict";
import { DeliveryHarness, type HarnessOptions } from "./harness.ts";

/** Totals of all runs. */
export const counted = { cuts: 0, kills: 0, acknowledged: 0, orphaned: 0, files: 0 };
export const recovered = { restored: 0, finished: 0, skipped: 0 };

/** How the first process ends: at an instant (a count of the disk's calls), or when done. */
export interface Ending {
  readonly cutAt?: number;
  readonly killAt?: number;
}

/** Resolves with the number of instants at which the first process could have ended. */
export async function play(options: HarnessOptions, ending: Ending, batches = 4): Promise<number> {
  const harness = new DeliveryHarness(options);
  const { random } = harness;
  harness.disk.cutAt = ending.cutAt;
  harness.disk.killAt = ending.killAt;
  try {
    await harness.runRandomProcess(batches, random.below(2) ? "close" : "drop");
    const { instants } = harness.disk;
    assert.deepEqual(harness.leftOpen, [], "descriptors left open");
    harness.disk.cutAt = undefined;
    harness.disk.killAt = undefined;
    if (ending.killAt !== undefined) {
      counted.kills += 1;
      // The next process inherits the page cache; it is killed as well, often during recovery.
      harness.disk.killAt = harness.disk.instants + 1 + random.below(150);
      await harness.runRandomProcess(1, "drop");
      await harness.recover();
      harness.check();
      harness.disk.cutAt = harness.disk.instants + 1 + random.below(150);
      await harness.runRandomProcess(1, "drop");
    }
    for (let cut = 0; cut < 2; cut += 1) {
      harness.cutPower();
      counted.cuts += 1;
      if (random.below(2)) {
        // The power is cut, or the process killed, often during recovery.
        const at = 1 + random.below(150);
        if (random.below(2)) harness.disk.cutAt = at;
        else harness.disk.killAt = at;
        await harness.runRandomProcess(1, "drop");
        harness.disk.killAt = undefined;
        counted.cuts += 1;
        harness.cutPower();
      }
      await harness.recover();
      harness.check();
      harness.disk.cutAt = harness.disk.instants + 1 + random.below(200);
      await harness.runRandomProcess(2, "drop");
    }
    harness.cutPower();
    counted.cuts += 1;
    await harness.recover();
    harness.check();
    counted.acknowledged += harness.expectations.acknowledged;
    counted.orphaned += harness.expectations.orphaned;
    counted.files += harness.expectations.filesChecked;
    for (const key of ["restored", "finished", "skipped"] as const) {
      recovered[key] += harness.counted[key];
    }
    return instants;
  } catch (error) {
    const last = harness.disk.trace.slice(-Number(process.env.POSTBAG_TRACE ?? 14)).join("\n  ");
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${JSON.stringify({ ...options, ...ending })}: ${message}\n  ${last}`, {
      cause: error,
    });
  }
}
