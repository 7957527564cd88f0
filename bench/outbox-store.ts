/**
 * How many queued mails a second an outbox on PostgreSQL sends until they are durably done, when
 * the sender accepts every mail at once or after `--send-ms`. outbox-send.ts measures with SMTP.
 *
 *   node bench/outbox-store.ts
 *   node bench/outbox-store.ts --send-ms 50
 *   … --count 20000 --runs 3 --seconds 5 --repeats 4 --only Postbag
 *
 * Every run has a copy of the filled database; the systems take turns; figures are medians.
 */
import { drain, pretend } from "./support/outbox-drain.ts";
import { benchMail } from "./support/outbox-mail.ts";
import { BenchPostgres } from "./support/outbox-postgres.ts";
import { graphileWorker, pgBoss, referenceProtocol } from "./support/outbox-rivals.ts";
import { type OutboxSystem, postbagOnPostgres } from "./support/outbox-systems.ts";
import {
  benchOptions,
  disturbanceNote,
  printResults,
  printTitle,
  takeTurns,
  whole,
} from "./support/run.ts";

const options = benchOptions({
  count: 20_000,
  "send-ms": 0,
  runs: 3,
  seconds: 5,
  repeats: 4,
  only: "",
});
const { count, "send-ms": sendMs, runs, seconds, only } = options;
const maxMs = seconds * 1_000;
const mailBytes = 4096;

/** With a slow sender the mails in flight limit the rate, so each has as many as it can: 1,000. */
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
const systems = (sendMs > 0 ? slowly : atOnce).filter(({ name }) => name.includes(only));

await using postgres = await BenchPostgres.start();
printTitle(
  postgres.folder,
  `PostgreSQL ${await postgres.version()} on the same machine, fsync on; ${count.toLocaleString("en")} mails of ` +
    `4 KB; each send ${sendMs} ms; medians of ${runs} runs of at most ${seconds} s.`,
);

const templates = new Map<string, string>();
for (const { name, fill } of systems) {
  if (templates.has(name)) continue;
  const mails = Array.from({ length: count }, () => benchMail(mailBytes));
  templates.set(name, await postgres.filled((target) => fill(target, mails)));
}
const results = await takeTurns(systems, options, (system) =>
  postgres.onCopy(templates.get(system.name) ?? "", (target) =>
    drain(system, { target, count, deliver: pretend(sendMs), maxMs, meter: postgres.meter }),
  ),
);
printResults(
  ["outbox", "settings", "done/s", "µs here", "µs server", "WAL KB", "keeps"],
  results,
  (system, of) => [
    system.name,
    system.settings,
    whole(of((one) => one.perSecond)),
    whole(of((one) => one.cpuUs)),
    whole(of((one) => one.serverCpuUs)),
    (of((one) => one.walBytes) / 1024).toFixed(1),
    system.keeps,
  ],
);
console.log(`
* µs here, µs server, WAL KB: processor time of this process and of the server, and write-ahead log, a mail.
${disturbanceNote}`);
