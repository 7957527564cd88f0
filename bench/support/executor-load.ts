/** One run of the executor's closed loop (app/commands/bench/load.ts) that counts disk flushes. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  type BenchCommitment,
  type BenchLoad,
  type BenchMeasured,
  measureExecutor,
  openExecutor,
} from "../../src/app/commands/bench/load.ts";
import { flushCounter } from "./flushes.ts";

export type { BenchCommit, BenchCommitment, BenchLoad } from "../../src/app/commands/bench/load.ts";

export interface Measured extends Omit<BenchMeasured, "visible" | "messages"> {
  /** Flushes of the disk for one message; undefined where the kernel does not count them. */
  readonly flushesEach: number | undefined;
  /** Time from durable until visible; undefined where it was not measured. */
  readonly visible: BenchMeasured["visible"] | undefined;
}

export async function loadExecutor(
  directory: string,
  load: BenchCommitment & BenchLoad,
): Promise<Measured> {
  const below = join(directory, "run");
  mkdirSync(below);
  const flushes = flushCounter(directory);
  let flushed = Number.NaN;
  const onPhase = (phase: "begins" | "ends") => {
    const now = flushes?.() ?? Number.NaN;
    flushed = phase === "begins" ? now : now - flushed;
  };
  await using executor = await openExecutor(below, load);
  const measured = await measureExecutor(executor, below, { ...load, onPhase });
  return { ...measured, flushesEach: flushes && flushed / measured.messages };
}
