/**
 * How fast mail is received, from connect to the reply to QUIT, in both commit modes and beside Postfix
 * and Dovecot.
 *
 *   node bench/receive.ts                  the usual shapes, every server installed here
 *   node bench/receive.ts --quick          one run of one second each, to see that it works
 *   … --flush-ms 5                         on a disk whose flush takes 5 ms (root only)
 *   … --only postbag --shape "32 clients"  servers and shapes whose names contain the text; "all" shapes
 *   … --runs 3 --seconds 3 --warmup 2 --repeats 4 --keep
 *
 * Closed loop: so many clients, each sending its next message, of 1,163 octets to one recipient, when
 * the last one is answered; a new TCP connection for each (with `--keep` one per client). Every figure
 * is the median of the runs, each on a fresh file system, the servers taking turns. A run during which
 * the machine was not quiet is made again.
 */
import { parseArgs } from "node:util";
import { freshDisk, skipUnlessPossible } from "./support/disk.ts";
import { flushCounter } from "./support/flushes.ts";
import { printHeader } from "./support/header.ts";
import { headline, type LoadOptions, type LoadResult, load } from "./support/load.ts";
import {
  disturbanceCells,
  disturbanceHead,
  quietRuns,
  type WatchedRun,
} from "./support/machine.ts";
import { followedName, type Receiver, receivers } from "./support/receivers.ts";
import { medianOf, printTable } from "./support/table.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    shape: { type: "string", default: "" },
    "flush-ms": { type: "string", default: "0" },
    runs: { type: "string" },
    seconds: { type: "string" },
    warmup: { type: "string" },
    repeats: { type: "string" },
  },
});
const flushMs = Number(values["flush-ms"]);
const runs = Number(values.runs ?? (values.quick ? 1 : 3));
const seconds = Number(values.seconds ?? (values.quick ? 1 : 3));
const warmupSeconds = Number(values.warmup ?? (values.quick ? 0.5 : 2));
const quietly = quietRuns(Number(values.repeats ?? (values.quick ? 0 : 4)));
skipUnlessPossible({ flushMs });
/** One message in so many is followed until it is visible. */
const followedShare = 32;

interface Shape {
  readonly name: string;
  readonly connections: number;
  readonly mailboxes: number;
  /** Measured only when asked for. */
  readonly isExtra?: boolean;
}

const shapes: readonly Shape[] = [
  { name: "32 clients, 1 mailbox", connections: 32, mailboxes: 1 },
  { name: "32 clients, 200 mailboxes", connections: 32, mailboxes: 200 },
  { name: "1 client", connections: 1, mailboxes: 1 },
  { name: "8 clients", connections: 8, mailboxes: 1, isExtra: true },
  { name: "64 clients", connections: 64, mailboxes: 1, isExtra: true },
];

interface Measured extends LoadResult {
  readonly flushesEach: number;
  /** Messages in one batch, on average. */
  readonly batch: number;
}

async function measure(receiver: Receiver, shape: Shape): Promise<Measured> {
  await using disk = await freshDisk({ flushMs });
  const server = await receiver.start(disk.path);
  try {
    const options: LoadOptions = {
      ...headline,
      ...shape,
      port: server.port,
      protocol: receiver.protocol,
      keep: values.keep,
      warmupSeconds,
      seconds,
      follow: { localPart: followedName, directory: server.followed, every: followedShare },
    };
    const flushes = flushCounter(disk.path);
    const before = { flushes: flushes?.() ?? Number.NaN, ...(await server.batches?.()) };
    const result = await load(options);
    const after = { flushes: flushes?.() ?? Number.NaN, ...(await server.batches?.()) };
    const grownBy = (one: number | undefined, other: number | undefined) =>
      (one ?? Number.NaN) - (other ?? Number.NaN);
    return {
      ...result,
      flushesEach: (after.flushes - before.flushes) / result.accepted,
      batch: grownBy(after.messages, before.messages) / grownBy(after.batches, before.batches),
    };
  } finally {
    await server.stop();
  }
}

function rowOf(
  receiver: Receiver,
  shape: Shape,
  measured: readonly WatchedRun<Measured>[],
): string[] {
  const results = measured.map(({ result }) => result);
  const of = (figure: (one: Measured) => number) => medianOf(results, figure);
  const errors = results.reduce((sum, result) => sum + result.errors, 0);
  const why = results.flatMap((result) => Object.keys(result.errorTexts))[0];
  const unseen = results.reduce((sum, { visible }) => sum + (visible?.missing ?? 0), 0);
  return [
    shape.name,
    receiver.name,
    Math.round(of((one) => one.perSecond)).toLocaleString("en"),
    ...[
      of((one) => one.p50Ms),
      of((one) => one.p99Ms),
      of((one) => one.p999Ms),
      of((one) => one.maxMs),
    ].map((ms) => ms.toFixed(1)),
    shown(
      of((one) => one.flushesEach),
      2,
    ),
    shown(
      of((one) => one.batch),
      1,
    ),
    shown(
      of((one) => one.visible?.p50Ms ?? Number.NaN),
      0,
    ),
    shown(
      of((one) => one.visible?.p99Ms ?? Number.NaN),
      0,
    ),
    shown(
      of((one) => one.visible?.maxMs ?? Number.NaN),
      0,
    ) + (unseen === 0 ? "" : ` (${unseen} later)`),
    why === undefined ? String(errors) : `${errors} (${why})`,
    ...disturbanceCells(measured.map(({ disturbance }) => disturbance)),
  ];
}

function shown(figure: number, digits: number): string {
  return Number.isNaN(figure) ? "–" : figure.toFixed(digits);
}

function matches(name: string, text: string): boolean {
  return name.toLowerCase().includes(text.toLowerCase());
}

const chosenShapes = shapes.filter(({ name, isExtra = false }) =>
  values.shape === "all" ? true : values.shape === "" ? !isExtra : matches(name, values.shape),
);
const chosen = receivers.filter(({ name }) => matches(name, values.only));
const present = chosen.filter(({ lack }) => lack === undefined);
{
  await using sample = await freshDisk({ flushMs });
  printHeader(sample.path);
  console.log(
    `${values.keep ? "Kept connections" : "A new connection for each message"}, 1,163 octets each; ` +
      `${sample.description}; medians of ${runs} runs of ${seconds} s.`,
  );
}
for (const { name, lack } of chosen) {
  if (lack !== undefined) console.log(`\n* Left out: ${name}, ${lack}`);
}
console.log("\nWhat a 250 means:\n");
for (const [promise, names] of Map.groupBy(present, ({ promise }) => promise)) {
  console.log(`* ${names.map(({ name }) => name).join(", ")}: ${promise}.`);
}
console.log();

const rows: string[][] = [];
const generatorMicros: number[] = [];
for (const shape of chosenShapes) {
  const results = new Map<Receiver, WatchedRun<Measured>[]>(present.map((one) => [one, []]));
  for (let run = 0; run < runs; run++) {
    for (const receiver of present) {
      const watched = await quietly(() => measure(receiver, shape));
      results.get(receiver)?.push(watched);
      generatorMicros.push((watched.result.cpuSeconds / watched.result.accepted) * 1e6);
    }
  }
  for (const receiver of present) rows.push(rowOf(receiver, shape, results.get(receiver) ?? []));
}
printTable(
  [
    "clients",
    "server",
    "messages/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "flushes each",
    "batch",
    "visible p50",
    "visible p99",
    "visible max",
    "errors",
    ...disturbanceHead,
  ],
  rows,
);
console.log(`
* flushes each: flushes of the disk for one message, warm-up and publishing among them.
* visible: milliseconds from the 250 to the file in \`new/\`, of one message in ${followedShare}.
* stolen, others: percent of the processors that the host took, and that other programs used, during the
  runs; a star: a run stayed disturbed after all repeats.
* The load generator takes ${medianOf(generatorMicros, (one) => one).toFixed(0)} µs of processor time a message, on the same cores.`);
