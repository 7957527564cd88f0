/**
 * How many queued mails a second an outbox sends by SMTP until they are durably done, and how long
 * one mail takes from `enqueue` to its 250. outbox-store.ts measures without SMTP.
 *
 *   node bench/outbox-send.ts             a backlog is drained
 *   node bench/outbox-send.ts --latency   a mail every 20 ms, in the application's process
 *   … --count 10000 --connections 16 --runs 3 --seconds 5 --repeats 4 --only Postbag
 *
 * Mails of 4 KB, made before the runs, go to a minimal SMTP sink in another process. Every system
 * sends by Postbag's relay client (nodemailer's SMTPConnection, 100 mails in a session). Postbag
 * writes intents (a commit before each send) by default; the other systems have none. Figures are
 * medians over the runs.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
  Worker,
} from "../src/outbox/index.ts";
import { relayClient } from "../src/smtp/index.ts";
import { type Drained, drain } from "./support/outbox-drain.ts";
import { benchMail, newMessage } from "./support/outbox-mail.ts";
import { BenchPostgres } from "./support/outbox-postgres.ts";
import { graphileWorker, pgBoss, referenceProtocol } from "./support/outbox-rivals.ts";
import { startSink } from "./support/outbox-sink.ts";
import { type OutboxSystem, postbagOnPostgres, postbagOnSqlite } from "./support/outbox-systems.ts";
import {
  benchOptions,
  disturbanceNote,
  printResults,
  printTitle,
  takeTurns,
  whole,
} from "./support/run.ts";
import { quantile } from "./support/table.ts";

const options = benchOptions({
  latency: false,
  count: 10_000,
  connections: 16,
  runs: 3,
  seconds: 5,
  repeats: 4,
  only: "",
  directory: ".",
});
const { count, connections: maxConnections, runs, seconds, only, directory } = options;
const maxMs = seconds * 1_000;
const mailBytes = 4096;

await using sink = await startSink();
await using postgres = await BenchPostgres.start();
const relay = { host: "127.0.0.1", port: sink.port, tls: "never" as const };
printTitle(
  directory,
  `PostgreSQL ${await postgres.version()}, fsync on; mails of 4 KB to ${sink.name}.`,
);
await (options.latency ? tableOfLatency() : tableOfDrains());
console.log(`
${disturbanceNote}`);

async function tableOfDrains(): Promise<void> {
  console.log(
    `A backlog of ${whole(count)}; ${maxConnections} connections; medians of ${runs} runs of at most ` +
      `${seconds} s.\n`,
  );
  const busy = { concurrency: 256, batchSize: 128 };
  const systems = [
    postbagOnSqlite(busy),
    postbagOnPostgres(busy),
    postbagOnPostgres({ ...busy, intents: false }),
    referenceProtocol(maxConnections),
    graphileWorker({ concurrency: 256, localQueue: 257 }),
    pgBoss({ batchSize: 128, workers: 2 }),
  ].filter(({ name }) => name.includes(only));
  const backlogs = new Map<string, string>();
  const results = await takeTurns(systems, options, (system) =>
    onBacklog(system, backlogs, sendAll),
  );
  printResults(
    ["outbox", "settings", "done/s", "µs here", "µs server", "keeps"],
    results,
    ({ name, settings, keeps }, of) => [
      name,
      settings,
      whole(of((one) => one.perSecond)),
      whole(of((one) => one.cpuUs)),
      whole(of((one) => one.serverCpuUs)),
      keeps,
    ],
  );
}

async function sendAll(system: OutboxSystem, target: string): Promise<Drained> {
  await using client = relayClient({ relay, maxConnections });
  const meter = system.store === "postgres" ? { meter: postgres.meter } : {};
  return await drain(system, { target, count, deliver: client.deliver, maxMs, ...meter });
}

/** Calls `work` on a backlog of its own: a copy of a filled PostgreSQL database, or a new file. */
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
  const folder = mkdtempSync(join(directory, "bench-outbox-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Application and worker in one process; a mail every 20 ms, so that no mail waits for another. */
async function tableOfLatency(): Promise<void> {
  const everyMs = 20;
  console.log(`One mail every ${everyMs} ms, for ${seconds} s; medians of ${runs} runs.\n`);
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
  const results = await takeTurns(Object.entries(stores), options, ([, measure]) => measure());
  printResults(["store", "p50 ms", "p99 ms", "mails"], results, ([name], of, measured) => [
    name,
    of((latencies) => quantile(latencies, 0.5)).toFixed(1),
    of((latencies) => quantile(latencies, 0.99)).toFixed(1),
    whole(measured.reduce((sum, { result }) => sum + result.length, 0)),
  ]);
}

/** The milliseconds of each mail from the call of `enqueue` to its 250. */
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
  const total = warmup + maxMs / everyMs;
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
