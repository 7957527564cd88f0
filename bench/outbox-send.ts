/**
 * How many mails a second an outbox sends, from queued to durably done by way of a real SMTP server, and
 * how long a single mail takes from `enqueue` to its 250.
 *
 *   node bench/outbox-send.ts             a backlog is drained
 *   node bench/outbox-send.ts --latency   one mail at a time, at a low rate, in the application's process
 *   … --count 10000 --connections 16 --runs 3 --seconds 5 --repeats 4 --only Postbag
 *
 * Ready-made mails of 4 KB to a minimal sink in a process of its own. Every system sends with the same
 * client of the project (nodemailer's SMTPConnection, sessions reused for 100 mails). Postbag with its
 * intents, as it is by default; the others have none. Medians over the runs.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import {
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
  Worker,
} from "../src/outbox/index.ts";
import { relayClient } from "../src/smtp/index.ts";
import { printHeader } from "./support/header.ts";
import {
  disturbanceCells,
  disturbanceHead,
  quietRuns,
  type WatchedRun,
} from "./support/machine.ts";
import { type Drained, drain } from "./support/outbox-drain.ts";
import { benchMail, newMessage } from "./support/outbox-mail.ts";
import { BenchPostgres } from "./support/outbox-postgres.ts";
import { graphileWorker, pgBoss, referenceProtocol } from "./support/outbox-rivals.ts";
import { startSink } from "./support/outbox-sink.ts";
import { type OutboxSystem, postbagOnPostgres, postbagOnSqlite } from "./support/outbox-systems.ts";
import { medianOf, printTable, quantile } from "./support/table.ts";

const { values } = parseArgs({
  options: {
    latency: { type: "boolean", default: false },
    count: { type: "string", default: "10000" },
    connections: { type: "string", default: "16" },
    runs: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    repeats: { type: "string", default: "4" },
    only: { type: "string", default: "" },
    directory: { type: "string", default: "." },
  },
});
const count = Number(values.count);
const maxConnections = Number(values.connections);
const runs = Number(values.runs);
const mostMs = Number(values.seconds) * 1_000;
const mailBytes = 4096;
const quietly = quietRuns(Number(values.repeats));
const whole = (n: number) => Math.round(n).toLocaleString("en");

await using sink = await startSink();
await using postgres = await BenchPostgres.start();
const relay = { host: "127.0.0.1", port: sink.port, tls: "never" as const };
printHeader(values.directory);
console.log(`PostgreSQL ${await postgres.version()}, fsync on; mails of 4 KB to ${sink.name}.`);
await (values.latency ? tableOfLatency() : tableOfDrains());
console.log(`
* stolen, others: percent of the processors that the host took, and that other programs used; a star: a
  run stayed disturbed after all repeats.`);

async function tableOfDrains(): Promise<void> {
  console.log(
    `A backlog of ${whole(count)}; ${maxConnections} connections; medians of ${runs} runs of at most ` +
      `${values.seconds} s.\n`,
  );
  const busy = { concurrency: 256, batchSize: 128 };
  const systems = [
    postbagOnSqlite(busy),
    postbagOnPostgres(busy),
    postbagOnPostgres({ ...busy, intents: false }),
    referenceProtocol(maxConnections),
    graphileWorker({ concurrency: 256, localQueue: 257 }),
    pgBoss({ batchSize: 128, workers: 2 }),
  ].filter(({ name }) => name.includes(values.only));
  const backlogs = new Map<string, string>();
  const results = new Map<OutboxSystem, WatchedRun<Drained>[]>();
  for (let run = 0; run < runs; run++) {
    for (const system of systems) {
      const watched = await quietly(() => onBacklog(system, backlogs, sendAll));
      results.set(system, [...(results.get(system) ?? []), watched]);
    }
  }
  printTable(
    ["outbox", "settings", "done/s", "µs here", "µs server", "keeps", ...disturbanceHead],
    [...results].map(([{ name, settings, keeps }, measured]) => {
      const of = (figure: (one: Drained) => number | undefined) =>
        medianOf(measured, ({ result }) => figure(result) ?? Number.NaN);
      const server = of((one) => one.serverCpuUs);
      return [
        name,
        settings,
        whole(of((one) => one.perSecond)),
        whole(of((one) => one.cpuUs)),
        Number.isNaN(server) ? "–" : whole(server),
        keeps,
        ...disturbanceCells(measured.map(({ disturbance }) => disturbance)),
      ];
    }),
  );
}

async function sendAll(system: OutboxSystem, target: string): Promise<Drained> {
  await using client = relayClient({ relay, maxConnections });
  const meter = system.store === "postgres" ? { meter: postgres.meter } : {};
  return await drain(system, { target, count, deliver: client.deliver, mostMs, ...meter });
}

/** Gives a run its own backlog: a copy of one filled before, or a fresh file. */
async function onBacklog<T>(
  system: OutboxSystem,
  backlogs: Map<string, string>,
  work: (system: OutboxSystem, target: string) => Promise<T>,
): Promise<T> {
  const fill = (target: string) =>
    system.fill(
      target,
      Array.from({ length: count }, () => benchMail(mailBytes)),
    );
  if (system.store === "postgres") {
    const backlog = backlogs.get(system.name) ?? (await postgres.filled(fill));
    backlogs.set(system.name, backlog);
    return await postgres.onCopy(backlog, (target) => work(system, target));
  }
  return await inFolder(async (folder) => {
    const file = join(folder, "outbox.db");
    await fill(file);
    return await work(system, file);
  });
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(values.directory, "bench-outbox-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Application and worker in one process; a mail every 20 ms, so that none waits for another. */
async function tableOfLatency(): Promise<void> {
  const everyMs = 20;
  console.log(`One mail every ${everyMs} ms, for ${values.seconds} s; medians of ${runs} runs.\n`);
  const stores: Record<string, () => Promise<number[]>> = {
    SQLite: () =>
      inFolder(async (folder) =>
        latencies(await openSqliteStore({ file: join(folder, "outbox.db") }), everyMs),
      ),
    PostgreSQL: () =>
      postgres.onCopy("template1", async (connectionString) =>
        latencies(await openPostgresStore({ connectionString }), everyMs),
      ),
  };
  const results = new Map<string, WatchedRun<number[]>[]>();
  for (let run = 0; run < runs; run++) {
    for (const [name, measure] of Object.entries(stores)) {
      results.set(name, [...(results.get(name) ?? []), await quietly(measure)]);
    }
  }
  printTable(
    ["store", "p50 ms", "p99 ms", "mails", ...disturbanceHead],
    [...results].map(([name, measured]) => {
      const of = (q: number) => medianOf(measured, ({ result }) => quantile(result, q)).toFixed(1);
      return [
        name,
        of(0.5),
        of(0.99),
        whole(measured.reduce((sum, { result }) => sum + result.length, 0)),
        ...disturbanceCells(measured.map(({ disturbance }) => disturbance)),
      ];
    }),
  );
}

/** Milliseconds from before `enqueue` to the 250, of each mail. */
async function latencies(store: OutboxStore, everyMs: number): Promise<number[]> {
  await using client = relayClient({ relay, maxConnections });
  const begun = new Map<string, number>();
  const taken: number[] = [];
  const worker = new Worker({
    store,
    senderOf: () => async (envelope, message, options) => {
      const outcomes = await client.deliver(envelope, message, options);
      taken.push(performance.now() - (begun.get(envelope.reversePath) ?? Number.NaN));
      return outcomes;
    },
  });
  worker.start();
  const warmup = 25;
  const total = warmup + mostMs / everyMs;
  for (let n = 0; n < total; n += 1) {
    const mail = benchMail(mailBytes);
    const from = `${mail.key}@sender.example`;
    begun.set(from, performance.now());
    await store.enqueue([newMessage({ ...mail, from }, false)]);
    await sleep(everyMs);
  }
  while (taken.length < total) await sleep(everyMs);
  await worker.stop();
  await store.close();
  return taken.slice(warmup);
}
