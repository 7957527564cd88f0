/**
 * The frame of most benches: checks the options, prints the header above the figures, makes the
 * runs, and prints the medians and the note about disturbed runs.
 *
 * Subjects (the rows of a table) take turns, because the speed of a machine changes over minutes:
 * each round measures every subject once.
 */
import { parseArgs } from "node:util";
import { printHeader } from "./header.ts";
import { disturbanceCells, disturbanceHead, quietRuns, type WatchedRun } from "./machine.ts";
import { medianOf, printTable } from "./table.ts";

/** The default of each option: a number, a text or a flag. A number must be finite and ≥ 0. */
type Defaults = Readonly<Record<string, number | string | boolean>>;
type Chosen<D extends Defaults> = {
  readonly [K in keyof D]: D[K] extends number ? number : D[K] extends boolean ? boolean : string;
};

/** Parses the command line by a table of defaults; a wrong option ends the program, status 2. */
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

/** Prints the header (header.ts) for `directory`, and `text` about the measurement. */
export function printTitle(directory: string, text: string): void {
  printHeader(directory);
  console.log(`${text}\n`);
}

export interface Turns {
  readonly runs: number;
  /** How many disturbed runs are repeated at most, all subjects together. */
  readonly repeats: number;
}

/** Makes `runs` rounds; each round runs every subject once, in order. */
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

/** Returns a function: the median of a figure over the runs; NaN when a run lacks the figure. */
export function mediansOf<Result>(measured: readonly WatchedRun<Result>[]) {
  return (figure: (result: Result) => number | undefined): number =>
    medianOf(measured, ({ result }) => figure(result) ?? Number.NaN);
}

type MedianOf<Result> = ReturnType<typeof mediansOf<Result>>;

/** Prints a row for each subject: its cells of medians, then the disturbance of its runs. */
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

/** The note below a table about its last two columns. */
export const disturbanceNote = `* stolen, others: percent of the processors that the host took, and that other programs used, during the
  runs; a star: a run stayed disturbed after all repeats.`;

/** A whole number with thousands separators; a dash for NaN. */
export const whole = (figure: number): string =>
  Number.isNaN(figure) ? "–" : Math.round(figure).toLocaleString("en");

/** Milliseconds with two decimals below 10 and one above; a dash for NaN. */
export const ms = (figure: number): string =>
  Number.isNaN(figure) ? "–" : figure.toFixed(figure < 10 ? 2 : 1);
