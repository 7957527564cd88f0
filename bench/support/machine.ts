/**
 * How much a run was disturbed by other users of the machine's processors: the host of a virtual
 * machine, which takes them away (steal), and other programs. Both are shown in percent of all
 * processors.
 *
 * A run in which either is above 10% is disturbed and repeated. The repeats are limited: a run that
 * stays disturbed counts with its quietest try, and its row has a star.
 *
 * Source: proc_stat(5) and proc_pid_stat(5).
 */
import { readdirSync, readFileSync } from "node:fs";
import { medianOf } from "./table.ts";

/** Times since boot, in clock ticks of all processors together. */
export interface CpuTimes {
  readonly total: number;
  readonly stolen: number;
}

export interface ProcessTimes {
  readonly pid: number;
  readonly parent: number;
  /** Clock ticks of the process and of the ended children that it has waited for. */
  readonly ticks: number;
}

/** The disturbance of a run, in percent of the time of all processors during the run. */
export interface Disturbance {
  /** Processor time that the host of the virtual machine took away. */
  readonly stolen: number;
  /** Processor time of programs that this process did not start, without kernel threads. */
  readonly others: number;
}

/** The bounds up to which a run counts as quiet. */
export const quiet: Disturbance = { stolen: 10, others: 10 };

const kernelThreads = 2;

/** Reads the first line of /proc/stat: user nice system idle iowait irq softirq steal. */
export function parseCpuTimes(stat: string): CpuTimes {
  const line = /^cpu +(.*)$/m.exec(stat)?.[1];
  if (line === undefined) throw new Error("/proc/stat has no line for all processors");
  // The fields after steal are guest times, which user and nice contain already.
  const ticks = line.split(" ").slice(0, 8).map(Number);
  return { total: ticks.reduce((sum, one) => sum + one, 0), stolen: ticks[7] ?? 0 };
}

/** Reads one /proc/PID/stat, in which the process name may contain blanks and parentheses. */
export function parseProcessTimes(stat: string): ProcessTimes {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const used = fields.slice(11, 15).map(Number);
  return {
    pid: Number.parseInt(stat, 10),
    parent: Number(fields[1]),
    ticks: used.reduce((sum, one) => sum + one, 0),
  };
}

/** The ticks of all processes except kernel threads, `self`, and the descendants of `self`. */
export function ticksOfOthers(processes: readonly ProcessTimes[], self: number): number {
  const parents = new Map(processes.map(({ pid, parent }) => [pid, parent]));
  const isOurs = (pid: number): boolean => {
    for (let one: number | undefined = pid; one !== undefined; one = parents.get(one)) {
      if (one === self || one === kernelThreads) return true;
    }
    return false;
  };
  const others = processes.filter(({ pid }) => !isOurs(pid));
  return others.reduce((sum, { ticks }) => sum + ticks, 0);
}

/** Begins to watch; the returned function returns the disturbance from the call until then. */
export function watchMachine(): () => Disturbance {
  const before = machineTimes();
  return () => {
    const after = machineTimes();
    const total = after.total - before.total;
    return {
      stolen: percentOf(after.stolen - before.stolen, total),
      others: percentOf(after.others - before.others, total),
    };
  };
}

/**
 * A share in percent, bounded to 0 and 100. The kernel's counters are read one after the other and
 * count whole ticks, so over a short time a part can be larger than the whole, or negative.
 */
export function percentOf(ticks: number, total: number): number {
  if (total <= 0) return 0;
  return Math.min(100, Math.max(0, (ticks / total) * 100));
}

function machineTimes(): CpuTimes & { readonly others: number } {
  const processes = readdirSync("/proc").flatMap((name) => {
    try {
      return /^\d+$/.test(name)
        ? [parseProcessTimes(readFileSync(`/proc/${name}/stat`, "utf8"))]
        : [];
    } catch {
      return []; // The process has ended; its parent's ticks contain its ticks.
    }
  });
  const cpu = parseCpuTimes(readFileSync("/proc/stat", "utf8"));
  return { ...cpu, others: ticksOfOthers(processes, process.pid) };
}

export interface WatchedRun<T> {
  readonly result: T;
  readonly disturbance: Disturbance;
}

export function isQuiet({ stolen, others }: Disturbance): boolean {
  return stolen <= quiet.stolen && others <= quiet.others;
}

/**
 * Makes a function that carries out a run, repeats it while it was disturbed, and returns the
 * quietest try.
 *
 * @param repeats How many repeats all calls of that function may make together, so that a table
 *   ends on a machine that is never quiet.
 */
export function quietRuns(repeats: number, watch = watchMachine) {
  let left = repeats;
  return async <T>(run: () => Promise<T>): Promise<WatchedRun<T>> => {
    let best = await watched(run);
    while (!isQuiet(best.disturbance) && left > 0) {
      left -= 1;
      const next = await watched(run);
      if (sumOf(next.disturbance) < sumOf(best.disturbance)) best = next;
    }
    return best;
  };

  async function watched<T>(run: () => Promise<T>): Promise<WatchedRun<T>> {
    const disturbance = watch();
    const result = await run();
    return { result, disturbance: disturbance() };
  }
}

/** The column heads of {@link disturbanceCells}. */
export const disturbanceHead = ["stolen %", "others %"] as const;

/** The medians over the runs of a row, with a star when one of its runs stayed disturbed. */
export function disturbanceCells(runs: readonly Disturbance[]): string[] {
  const star = runs.every(isQuiet) ? "" : "*";
  const medians = [medianOf(runs, ({ stolen }) => stolen), medianOf(runs, ({ others }) => others)];
  return medians.map((percent) => `${percent.toFixed(0)}${star}`);
}

const sumOf = ({ stolen, others }: Disturbance) => stolen + others;
