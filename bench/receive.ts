/**
 * How fast mail is received, from connect to the reply to QUIT, beside Postfix and Dovecot.
 *
 *   node bench/receive.ts                  all shapes, every server installed here
 *   node bench/receive.ts --quick          one run of one second each, to see that it works
 *   … --flush-ms 5                         on a disk whose flush takes 5 ms (root only)
 *   … --only postbag --shape "32 clients"  servers and shapes whose names contain the text
 *   … --runs 3 --seconds 6 --warmup 2 --keep
 *
 * Closed loop: so many clients, each sending its next message, of 1,163 octets to one recipient, when
 * the last one is answered; a new TCP connection for each (with `--keep` one per client). Every figure is the
 * median of the runs, each on a fresh file system, the servers taking turns.
 */
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { freshDisk } from "./support/disk.ts";
import { printHeader } from "./support/header.ts";
import { headline, type LoadOptions, type LoadResult, load } from "./support/load.ts";
import { type Receiver, receivers } from "./support/receivers.ts";
import { median, printTable } from "./support/table.ts";

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
  },
});
const flushMs = Number(values["flush-ms"]);
const runs = Number(values.runs ?? (values.quick ? 1 : 3));
const seconds = Number(values.seconds ?? (values.quick ? 1 : 6));
const warmupSeconds = Number(values.warmup ?? (values.quick ? 0.5 : 2));

interface Shape {
  readonly name: string;
  readonly connections: number;
  readonly mailboxes: number;
}

const shapes: readonly Shape[] = [
  { name: "32 clients, 1 mailbox", connections: 32, mailboxes: 1 },
  { name: "1 client", connections: 1, mailboxes: 1 },
  { name: "8 clients", connections: 8, mailboxes: 1 },
  { name: "64 clients", connections: 64, mailboxes: 1 },
  { name: "32 clients, 200 mailboxes", connections: 32, mailboxes: 200 },
];

async function measure(receiver: Receiver, shape: Shape): Promise<LoadResult> {
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
    };
    return await load(options);
  } finally {
    await server.stop();
  }
}

function rowOf(receiver: Receiver, shape: Shape, results: readonly LoadResult[]): string[] {
  const of = (figure: keyof LoadResult) => median(results.map((result) => Number(result[figure])));
  const errors = results.reduce((sum, result) => sum + result.errors, 0);
  const why = results.flatMap((result) => Object.keys(result.errorTexts))[0];
  return [
    shape.name,
    receiver.name,
    Math.round(of("perSecond")).toLocaleString("en"),
    ...[of("p50Ms"), of("p99Ms"), of("p999Ms"), of("maxMs")].map((ms) => ms.toFixed(1)),
    why === undefined ? String(errors) : `${errors} (${why})`,
  ];
}

const chosen = receivers.filter(({ name }) => matches(name, values.only));
const present = chosen.filter(({ lack }) => lack === undefined);

function matches(name: string, text: string): boolean {
  return name.toLowerCase().includes(text.toLowerCase());
}

await using sample = await freshDisk({ flushMs });
printHeader(sample.path);
console.log(
  `${values.keep ? "Kept connections" : "A new connection for each message"}, 1,163 octets each; ` +
    `${sample.description}; medians of ${runs} runs of ${seconds} s.`,
);
console.log(`Load average of the machine before it began: ${loadavg()[0]?.toFixed(1)}.`);
for (const { name, lack } of chosen)
  if (lack !== undefined) console.log(`Left out: ${name}, ${lack}`);
for (const { name, promise } of present) console.log(`At its 250, ${name}: ${promise}.`);
console.log();

const rows: string[][] = [];
for (const shape of shapes.filter(({ name }) => matches(name, values.shape))) {
  const results = new Map<Receiver, LoadResult[]>(present.map((receiver) => [receiver, []]));
  for (let run = 0; run < runs; run++) {
    for (const receiver of present) results.get(receiver)?.push(await measure(receiver, shape));
  }
  for (const receiver of present) rows.push(rowOf(receiver, shape, results.get(receiver) ?? []));
}
printTable(
  ["clients", "server", "messages/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "errors"],
  rows,
);
