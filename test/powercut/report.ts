/** Cuts and what they did, as figures and as sentences. */
import type { Findings } from "./check.ts";
import type { CutResult, Run } from "./power-cut.ts";

export interface Tally {
  readonly cuts: number;
  /** Acknowledged messages looked for, over all cuts. */
  readonly checked: number;
  readonly lost: number;
  readonly damaged: number;
  readonly partial: number;
  readonly duplicated: number;
  readonly halfMoved: number;
  readonly unmountable: number;
}

export function tally(results: readonly CutResult[]): Tally {
  const sum = (of: (findings: Findings) => number) =>
    results.reduce((total, { findings }) => total + of(findings), 0);
  return {
    cuts: results.length,
    checked: sum(({ expected }) => expected),
    lost: sum(({ lost }) => lost.length),
    damaged: sum(({ damaged }) => damaged.length),
    partial: sum(({ partial }) => partial.length),
    duplicated: sum(({ duplicated }) => duplicated.length),
    halfMoved: sum(({ halfMoved }) => halfMoved.length),
    unmountable: results.filter(({ unmountable }) => unmountable !== undefined).length,
  };
}

/**
 * What broke a promise, one sentence each, with the cut that repeats it.
 *
 * A reader's own move may survive as both names on btrfs, which promises no more for a rename between
 * directories; ext4 and XFS keep one of the two.
 */
export function broken(run: Run, results: readonly CutResult[]): string[] {
  return results.flatMap(({ cut, unmountable, findings }) => {
    const { lost, damaged, partial, duplicated, halfMoved } = findings;
    const faults = Object.entries({
      unmountable: unmountable === undefined ? [] : [unmountable],
      lost,
      damaged,
      partial,
      duplicated,
      ...(run.fileSystem === "btrfs" ? {} : { halfMoved }),
    });
    const afterMs = ((cut.atNs - run.startedNs) / 1e6).toFixed(3);
    const where = `${run.fileSystem}, cut after ${afterMs} ms, ${cut.keep} kept, seed ${cut.seed}`;
    return faults
      .filter(([, names]) => names.length > 0)
      .map(([fault, names]) => `${where}: ${fault}: ${shortened(names)}`);
  });
}

function shortened(names: readonly string[]): string {
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  return names.slice(0, 3).join(", ") + more;
}
