/** The results of the cuts of power-cut.ts, as figures and as sentences. */
import type { Findings } from "./check.ts";
import type { CutResult } from "./power-cut.ts";
import type { Run } from "./record-run.ts";

export interface Tally {
  readonly cuts: number;
  /** Acknowledged messages checked, over all cuts. */
  readonly checked: number;
  readonly lost: number;
  readonly damaged: number;
  readonly partial: number;
  readonly duplicated: number;
  readonly revived: number;
  readonly halfMoved: number;
  readonly revivedEarly: number;
  readonly unmountable: number;
  readonly unrecoverable: number;
  /** Messages that recovery published from the log or from staging. */
  readonly recovered: number;
}

/** Sums the findings before and after recovery. */
export function tally(results: readonly CutResult[]): Tally {
  const sum = (of: (findings: Findings) => number) =>
    results
      .flatMap(({ before, findings }) => (before ? [before, findings] : [findings]))
      .reduce((total, findings) => total + of(findings), 0);
  return {
    cuts: results.length,
    checked: sum(({ expected }) => expected),
    lost: sum(({ lost }) => lost.length),
    damaged: sum(({ damaged }) => damaged.length),
    partial: sum(({ partial }) => partial.length),
    duplicated: sum(({ duplicated }) => duplicated.length),
    revived: sum(({ revived }) => revived.length),
    halfMoved: sum(({ halfMoved }) => halfMoved.length),
    revivedEarly: sum(({ revivedEarly }) => revivedEarly.length),
    unmountable: results.filter(({ unmountable }) => unmountable !== undefined).length,
    unrecoverable: results.filter(({ unrecoverable }) => unrecoverable !== undefined).length,
    recovered: results.reduce((total, { recovered }) => {
      const { restored = 0, finished = 0 } = recovered?.report ?? {};
      return total + restored + finished;
    }, 0),
  };
}

export function sumOf(tallies: readonly Tally[]): Tally {
  return tallies.reduce((sum, one) => {
    const keys = Object.keys(sum) as (keyof Tally)[];
    return Object.fromEntries(keys.map((key) => [key, sum[key] + one[key]])) as unknown as Tally;
  }, tally([]));
}

/**
 * Describes each broken promise in one sentence, with the cut that repeats it.
 *
 * On btrfs two things are not promised: a reader's own move may survive as both names, because
 * btrfs does not make a rename between directories atomic in a power cut, and a delete within the
 * milliseconds before a delivery is settled may be undone. On ext4 and XFS neither happens.
 */
export function broken(run: Run, results: readonly CutResult[]): string[] {
  return results.flatMap(({ cut, unmountable, unrecoverable, before, findings, recovered }) => {
    const faults: [string, readonly string[]][] = [
      ["unmountable", unmountable === undefined ? [] : [unmountable]],
      ["not recovered", unrecoverable === undefined ? [] : [unrecoverable]],
      ...faultsOf(run, findings),
      ...(before ? faultsOf(run, before) : []).map(
        ([fault, names]): [string, readonly string[]] => [`before recovery ${fault}`, names],
      ),
      ["left in staging", recovered?.staged ?? []],
      ["orphaned", recovered?.orphans ?? []],
      ["journal damaged", recovered?.report.damage ?? []],
      ["not recovered yet", (recovered?.report.unavailable ?? []).map(({ reason }) => reason)],
    ];
    const afterMs = ((cut.atNs - run.startedNs) / 1e6).toFixed(3);
    const where = `${run.fileSystem}, cut after ${afterMs} ms, ${cut.keep} kept, seed ${cut.seed}`;
    return faults
      .filter(([, names]) => names.length > 0)
      .map(([fault, names]) => `${where}: ${fault}: ${shortened(names)}`);
  });
}

function faultsOf(run: Run, findings: Findings): [string, readonly string[]][] {
  const { lost, damaged, partial, duplicated, revived, halfMoved } = findings;
  return [
    ["lost", lost],
    ["damaged", damaged],
    ["partial", partial],
    ["duplicated", duplicated],
    ["revived", revived],
    ["half moved", run.fileSystem === "btrfs" ? [] : halfMoved],
  ];
}

function shortened(names: readonly string[]): string {
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  return names.slice(0, 3).join(", ") + more;
}
