/**
 * How many messages a second a server receives, and how long each takes from connect to the reply
 * to QUIT: Postbag in both commit modes, Postfix and Dovecot.
 *
 *   node bench/receive.ts                  the usual shapes (clients, mailboxes), installed servers
 *   node bench/receive.ts --quick          one run of one second each, to see that the bench works
 *   … --flush-ms 5                         on a disk whose flush takes 5 ms (root only)
 *   … --only postbag --shape "32 clients"  servers and shapes whose names contain the text
 *   … --shape all                          every shape
 *   … --runs 3 --seconds 3 --warmup 2 --repeats 4 --keep
 *
 * Closed loop: each client sends its next message, 1,163 bytes to one recipient, when its last one
 * is answered, on a new TCP connection for each message (with `--keep` one for each client). Every
 * figure is the median of the runs, each on a fresh file system; the servers take turns. A run on a
 * disturbed machine (support/machine.ts) is repeated.
 */
import { freshDisk, skipUnlessPossible } from "./support/disk.ts";
import { flushCounter } from "./support/flushes.ts";
import { headline, type LoadOptions, type LoadResult, load } from "./support/load.ts";
import type { WatchedRun } from "./support/machine.ts";
import { followedName, type Receiver, receivers } from "./support/receivers.ts";
import {
  benchOptions,
  disturbanceNote,
  printResults,
  printTitle,
  takeTurns,
  whole,
} from "./support/run.ts";
import { medianOf } from "./support/table.ts";

const isQuick = process.argv.includes("--quick");
const options = benchOptions({
  quick: false,
  keep: false,
  only: "",
  shape: "",
  "flush-ms": 0,
  runs: isQuick ? 1 : 3,
  seconds: isQuick ? 1 : 3,
  warmup: isQuick ? 0.5 : 2,
  repeats: isQuick ? 0 : 4,
});
const { runs, seconds, warmup: warmupSeconds, "flush-ms": flushMs } = options;
skipUnlessPossible({ flushMs });
/** One message in this many is followed until it is visible in its mailbox. */
const followedShare = 32;

interface Shape {
  readonly name: string;
  readonly connections: number;
  readonly mailboxes: number;
  /** Whether the shape is measured only when `--shape` selects it. @defaultValue false */
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
    const loadOptions: LoadOptions = {
      ...headline,
      ...shape,
      port: server.port,
      protocol: receiver.protocol,
      keep: options.keep,
      warmupSeconds,
      seconds,
      follow: { localPart: followedName, directory: server.followed, every: followedShare },
    };
    const flushes = flushCounter(disk.path);
    const before = { flushes: flushes?.() ?? Number.NaN, ...(await server.batches?.()) };
    const result = await load(loadOptions);
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

function cellsOf(
  [receiver, shape]: readonly [Receiver, Shape],
  of: (figure: (one: Measured) => number | undefined) => number,
  measured: readonly WatchedRun<Measured>[],
): string[] {
  const results = measured.map(({ result }) => result);
  const errors = results.reduce((sum, result) => sum + result.errors, 0);
  const why = results.flatMap((result) => Object.keys(result.errorTexts))[0];
  const unseen = results.reduce((sum, { visible }) => sum + (visible?.missing ?? 0), 0);
  return [
    shape.name,
    receiver.name,
    whole(of((one) => one.perSecond)),
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
    whole(of((one) => one.visible?.p50Ms)),
    whole(of((one) => one.visible?.p99Ms)),
    whole(of((one) => one.visible?.maxMs)) + (unseen === 0 ? "" : ` (${unseen} later)`),
    why === undefined ? String(errors) : `${errors} (${why})`,
  ];
}

function shown(figure: number, digits: number): string {
  return Number.isNaN(figure) ? "–" : figure.toFixed(digits);
}

function matches(name: string, text: string): boolean {
  return name.toLowerCase().includes(text.toLowerCase());
}

const chosenShapes = shapes.filter(({ name, isExtra = false }) =>
  options.shape === "all" ? true : options.shape === "" ? !isExtra : matches(name, options.shape),
);
const chosen = receivers.filter(({ name }) => matches(name, options.only));
const present = chosen.filter(({ lack }) => lack === undefined);
{
  await using sample = await freshDisk({ flushMs });
  printTitle(
    sample.path,
    `${options.keep ? "Kept connections" : "A new connection for each message"}, 1,163 bytes each; ` +
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

const rows = new Map<readonly [Receiver, Shape], readonly WatchedRun<Measured>[]>();
const generatorMicros: number[] = [];
for (const shape of chosenShapes) {
  const results = await takeTurns(present, options, (receiver) => measure(receiver, shape));
  for (const [receiver, measured] of results) {
    rows.set([receiver, shape], measured);
    for (const { result } of measured) {
      generatorMicros.push((result.cpuSeconds / result.accepted) * 1e6);
    }
  }
}
printResults(
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
  ],
  rows,
  cellsOf,
);
console.log(`
* flushes each: flushes of the disk for one message, warm-up and publishing among them.
* visible: milliseconds from the 250 to the file in \`new/\`, of one message in ${followedShare}.
${disturbanceNote}
* The load generator takes ${medianOf(generatorMicros, (one) => one).toFixed(0)} µs of processor time a message, on the same cores.`);
