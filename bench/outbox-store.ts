/**
 * How many mails a second an outbox on PostgreSQL carries from queued to durably done, when sending
 * itself costs nothing, or takes 50 ms.
 *
 *   node bench/outbox-store.ts                     a sender that answers at once
 *   node bench/outbox-store.ts --send-ms 50        a sender that takes 50 ms
 *   … --count 20000 --runs 3 --seconds 5 --repeats 4 --only Postbag
 *
 * A backlog of mails of 4 KB with unique keys, all due; every run on a fresh copy of it, the systems
 * taking turns on one server. Counted is what the database says is done. Postbag without intents, since
 * none of the others has them. Medians over the runs; a disturbed run is made again.
 */
import { parseArgs } from "node:util";
import { printHeader } from "./support/header.ts";
import {
  disturbanceCells,
  disturbanceHead,
  quietRuns,
  type WatchedRun,
} from "./support/machine.ts";
import { type Drained, drain, pretend } from "./support/outbox-drain.ts";
import { benchMail } from "./support/outbox-mail.ts";
import { BenchPostgres } from "./support/outbox-postgres.ts";
import { graphileWorker, pgBoss, referenceProtocol } from "./support/outbox-rivals.ts";
import { type OutboxSystem, postbagOnPostgres } from "./support/outbox-systems.ts";
import { medianOf, printTable } from "./support/table.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "20000" },
    "send-ms": { type: "string", default: "0" },
    runs: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    repeats: { type: "string", default: "4" },
    only: { type: "string", default: "" },
  },
});
const count = Number(values.count);
const sendMs = Number(values["send-ms"]);
const runs = Number(values.runs);
const mostMs = Number(values.seconds) * 1_000;
const mailBytes = 4096;

/** Who waits for a sender needs as many mails under way as it can have; the same number for all. */
const slowly: readonly OutboxSystem[] = [
  postbagOnPostgres({ intents: false, concurrency: 1_000, batchSize: 500 }),
  referenceProtocol(16),
  graphileWorker({ concurrency: 1_000, localQueue: 1_001 }),
  pgBoss({ batchSize: 500, workers: 2 }),
];
const atOnce: readonly OutboxSystem[] = [
  postbagOnPostgres({ intents: false }),
  postbagOnPostgres({ intents: false, concurrency: 1_000, batchSize: 500 }),
  referenceProtocol(1),
  referenceProtocol(16),
  graphileWorker({ concurrency: 24 }),
  graphileWorker({ concurrency: 24, localQueue: 500 }),
  pgBoss({ batchSize: 100, workers: 1 }),
  pgBoss({ batchSize: 500, workers: 2 }),
];
const systems = (sendMs > 0 ? slowly : atOnce).filter(({ name }) => name.includes(values.only));

await using postgres = await BenchPostgres.start();
printHeader(postgres.folder);
console.log(
  `PostgreSQL ${await postgres.version()} on the same machine, fsync on; ${count.toLocaleString("en")} mails of ` +
    `4 KB; each send ${sendMs} ms; medians of ${runs} runs of at most ${values.seconds} s.\n`,
);

const templates = new Map<string, string>();
for (const { name, fill } of systems) {
  if (templates.has(name)) continue;
  const mails = Array.from({ length: count }, () => benchMail(mailBytes));
  templates.set(name, await postgres.filled((target) => fill(target, mails)));
}
const quietly = quietRuns(Number(values.repeats));
const results = new Map<OutboxSystem, WatchedRun<Drained>[]>(systems.map((one) => [one, []]));
for (let run = 0; run < runs; run++) {
  for (const system of systems) {
    const watched = await quietly(() =>
      postgres.onCopy(templates.get(system.name) ?? "", (target) =>
        drain(system, { target, count, deliver: pretend(sendMs), mostMs, meter: postgres.meter }),
      ),
    );
    results.get(system)?.push(watched);
  }
}

const whole = (n: number) => Math.round(n).toLocaleString("en");
printTable(
  ["outbox", "settings", "done/s", "µs here", "µs server", "WAL KB", "keeps", ...disturbanceHead],
  systems.map((system) => {
    const measured = results.get(system) ?? [];
    const of = (figure: (one: Drained) => number | undefined) =>
      medianOf(measured, ({ result }) => figure(result) ?? Number.NaN);
    return [
      system.name,
      system.settings,
      whole(of((one) => one.perSecond)),
      whole(of((one) => one.cpuUs)),
      whole(of((one) => one.serverCpuUs)),
      (of((one) => one.walBytes) / 1024).toFixed(1),
      system.keeps,
      ...disturbanceCells(measured.map(({ disturbance }) => disturbance)),
    ];
  }),
);
console.log(`
* µs here, µs server, WAL KB: processor time of this process and of the server, and write-ahead log, a mail.
* stolen, others: percent of the processors that the host took, and that other programs used; a star: a
  run stayed disturbed after all repeats.`);
