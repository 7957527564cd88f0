/**
 * The frame of every bench: options that are checked, the header above the figures, runs in which the
 * subjects take turns while the machine is quiet, medians over the runs, and the note that explains them.
 *
 * Subjects take turns because the machine's speed drifts: each round measures all of them once.
 */
import { parseArgs } from "node:util";
import { printHeader } from "./header.ts";
import { disturbanceCells, disturbanceHead, quietRuns, type WatchedRun } from "./machine.ts";
import { medianOf, printTable } from "./table.ts";

/** Option name → default: a number, a text or a flag. Numbers are refused unless finite and ≥ 0. */
type Defaults = Readonly<Record<string, number | string | boolean>>;
type Chosen<D extends Defaults> = {
  readonly [K in keyof D]: D[K] extends number ? number : D[K] extends boolean ? boolean : string;
};

/** Parses the command line by a table of defaults. Ends the program with status 2 on a wrong option. */
export function benchOptions<const D extends Defaults>(defaults: D): Chosen<D> {
  const options = Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [
      name,
      typeof value === "boolean"
        ? ({ type: "boolean", default: value } as const)
        : ({ type: "string", default: String(value) } as const),
    ]),
  );
  try {
    const { values } = parseArgs({ options });
    return Object.fromEntries(
      Object.entries(defaults).map(([name, value]) => [
        name,
        typeof value === "number" ? numberFrom(name, String(values[name])) : values[name],
      ]),
    ) as Chosen<D>;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(2);
  }
}

function numberFrom(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= 0) return value;
  throw new Error(`--${name} must be a number from 0 up; got ${text}.`);
}

/** Prints the machine's paragraph for `directory` and one paragraph about what is measured. */
export function printTitle(directory: string, text: string): void {
  printHeader(directory);
  console.log(`${text}\n`);
}

export interface Turns {
  readonly runs: number;
  /** Disturbed runs to repeat, over all subjects. */
  readonly repeats: number;
}

/** Runs each subject `runs` times, one after the other in every round. */
export async function takeTurns<Subject, Result>(
  subjects: readonly Subject[],
  { runs, repeats }: Turns,
  run: (subject: Subject) => Promise<Result>,
): Promise<Map<Subject, WatchedRun<Result>[]>> {
  const quietly = quietRuns(repeats);
  const results = new Map<Subject, WatchedRun<Result>[]>(subjects.map((one) => [one, []]));
  for (let round = 0; round < runs; round += 1) {
    for (const [subject, measured] of results) measured.push(await quietly(() => run(subject)));
  }
  return results;
}

/** Gives the median of a figure over the runs; NaN when a run has no such figure. */
export function mediansOf<Result>(measured: readonly WatchedRun<Result>[]) {
  return (figure: (result: Result) => number | undefined): number =>
    medianOf(measured, ({ result }) => figure(result) ?? Number.NaN);
}

type MedianOf<Result> = ReturnType<typeof mediansOf<Result>>;

/** Prints one row a subject: its cells from the medians, then how disturbed its runs were. */
export function printResults<Subject, Result>(
  head: readonly string[],
  results: ReadonlyMap<Subject, readonly WatchedRun<Result>[]>,
  cells: (
    subject: Subject,
    of: MedianOf<Result>,
    measured: readonly WatchedRun<Result>[],
  ) => readonly string[],
): void {
  printTable(
    [...head, ...disturbanceHead],
    [...results].map(([subject, measured]) => [
      ...cells(subject, mediansOf(measured), measured),
      ...disturbanceCells(measured.map(({ disturbance }) => disturbance)),
    ]),
  );
}

/** What the last two columns mean. */
export const disturbanceNote = `* stolen, others: percent of the processors that the host took, and that other programs used, during the
  runs; a star: a run stayed disturbed after all repeats.`;

/** A whole number with thousands marked; a dash for a figure that does not exist. */
export const whole = (figure: number): string =>
  Number.isNaN(figure) ? "–" : Math.round(figure).toLocaleString("en");

/** Milliseconds with three significant digits; a dash for a figure that does not exist. */
export const ms = (figure: number): string =>
  Number.isNaN(figure) ? "–" : figure.toFixed(figure < 10 ? 2 : 1);
