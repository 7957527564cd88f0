/** The command `postbag bench`: reads its flags and prints the report of app/commands/bench. */
import { Command, InvalidArgumentError } from "commander";
import type { BenchReport } from "../app/commands/bench/bench.ts";
import { flagOf } from "../app/index.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";

export function benchCommand(): Command {
  const command = new Command("bench")
    .description("measure this disk and advise a commit mode and limits")
    .option("--seconds <N>", "about how long to measure (default: 20)", positiveNumber)
    .option("--json", "print JSON")
    .action(bench);
  return addSettingFlags(command, ["data"]);
}

function positiveNumber(text: string): number {
  const number = Number(text);
  if (!(number > 0)) throw new InvalidArgumentError("It must be a number above 0.");
  return number;
}

async function bench(options: Readonly<Record<string, unknown>>): Promise<void> {
  const { data } = settingsOf(options).settings;
  const seconds = (options.seconds as number | undefined) ?? 20;
  const { runBench } = await import("../app/commands/bench/bench.ts");
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => stop.abort(signal);
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  console.error(`Measuring the disk under ${data} for about ${seconds} s ...`);
  try {
    const report = await runBench({ data, seconds, signal: stop.signal });
    console.log(options.json ? JSON.stringify(report, undefined, 2) : benchText(report));
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    console.error("postbag: stopped; the files of the bench are removed.");
    process.exitCode = 1;
  }
}

/**
 * The report for a person: the figures, the advice as a command line, and the reason for each part.
 */
export function benchText({
  directory,
  fileSystem,
  flush,
  rows,
  advice,
  bodyBytes,
}: BenchReport): string {
  const head = [
    "commit",
    "mailboxes",
    "clients",
    "limits",
    "messages/s",
    "p50 ms",
    "p99 ms",
    "batch",
  ];
  const cells = rows.map(({ maxBatch, maxConcurrentFlushes, ...row }) => [
    row.commit,
    String(row.mailboxes),
    String(row.callers),
    maxBatch ? `maxBatch ${maxBatch}` : maxConcurrentFlushes ? "one batch at a time" : "",
    Math.round(row.perSecond).toLocaleString("en"),
    row.p50Ms.toFixed(1),
    row.p99Ms.toFixed(1),
    row.batch.toFixed(1),
  ]);
  const { reasons, ...settings } = advice;
  const flags = Object.entries(settings).map(([name, value]) => `${flagOf(name)} ${value}`);
  return [
    `Disk under ${directory}: one small write and its flush take ${flush.p50Ms.toFixed(2)} ms (p50), ${flush.p99Ms.toFixed(2)} ms (p99).`,
    ...(fileSystem === undefined ? [] : [`${fileSystem.text}.`]),
    "",
    `Messages of ${bodyBytes} bytes, from the call to durable:`,
    "",
    ...table([head, ...cells]),
    "",
    `Advised: postbag serve ${flags.join(" ")}`,
    "",
    ...reasons.map((reason) => `* ${reason}`),
    "",
    "Measured in a short time, without the sockets that a server also serves.",
  ].join("\n");
}

/** Aligns the first and fourth column, which are texts, to the left, and figures to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widthOf = (at: number) => Math.max(...rows.map((row) => row[at]?.length ?? 0));
  const isText = (at: number) => at === 0 || at === 3;
  return rows.map((row) =>
    row
      .map((cell, at) => (isText(at) ? cell.padEnd(widthOf(at)) : cell.padStart(widthOf(at))))
      .join("  ")
      .trimEnd(),
  );
}
