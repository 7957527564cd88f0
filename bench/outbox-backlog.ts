/**
 * Whether a long queue slows the outbox down: a drain must have the same rate and memory from the
 * first mail to the last, and mail that is scheduled for later must not slow down due mail.
 *
 *   node bench/outbox-backlog.ts                     200,000 due mails, SQLite
 *   node bench/outbox-backlog.ts --backlog 1000000   the long run
 *   node bench/outbox-backlog.ts --scheduled 100000  due mails beside 0 and 100,000 scheduled ones
 *   … --store sqlite|postgres --bytes 1024 --due 10000 --runs 3 --repeats 4
 *
 * The sender accepts every mail at once. Each delivery writes its intent (a commit before the
 * send), as by default; 256 deliveries are in flight. Another process fills the outbox, so that the
 * memory in the table is that of the worker alone.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
  Worker,
} from "../src/outbox/index.ts";
import {
  type Disturbance,
  disturbanceCells,
  disturbanceHead,
  watchMachine,
} from "./support/machine.ts";
import { pretend } from "./support/outbox-drain.ts";
import { benchMail, newMessage } from "./support/outbox-mail.ts";
import { BenchPostgres } from "./support/outbox-postgres.ts";
import { benchOptions, printResults, printTitle, takeTurns, whole } from "./support/run.ts";
import { printTable } from "./support/table.ts";

const options = benchOptions({
  backlog: 200_000,
  scheduled: 0,
  due: 10_000,
  store: "sqlite",
  bytes: 1_024,
  runs: 3,
  repeats: 4,
  directory: ".",
  /** The database that a child process of this program fills; empty in the program itself. */
  fill: "",
});
const { bytes } = options;

function openStore(target: string): Promise<OutboxStore> {
  return options.store === "postgres"
    ? openPostgresStore({ connectionString: target })
    : openSqliteStore({ file: target });
}

if (options.fill !== "") await fill(options.fill);
else if (options.scheduled > 0) await besideScheduled(options.scheduled);
else await drainOf(options.backlog);

async function fill(target: string): Promise<void> {
  const store = await openStore(target);
  const tomorrow = { sendAtMs: Date.now() + 24 * 60 * 60 * 1_000 };
  await put(options.scheduled, tomorrow);
  await put(Number(options.due), {});
  await store.close();

  async function put(count: number, when: { readonly sendAtMs?: number }): Promise<void> {
    const atOnce = 500;
    for (let done = 0; done < count; done += atOnce) {
      const part = Array.from({ length: Math.min(atOnce, count - done) }, () => ({
        ...newMessage(benchMail(bytes), false),
        ...when,
      }));
      await store.enqueue(part);
    }
  }
}

function filled(target: string, due: number, scheduled: number): void {
  const given = { fill: target, due, scheduled, store: options.store, bytes };
  const words = Object.entries(given).flatMap(([name, value]) => [`--${name}`, String(value)]);
  execFileSync(process.execPath, [import.meta.filename, ...words], { stdio: "inherit" });
}

/** Calls `work` with an empty database, and removes the database afterwards. */
async function withDatabase<T>(work: (target: string) => Promise<T>): Promise<T> {
  if (options.store === "postgres") {
    await using postgres = await BenchPostgres.start();
    return await postgres.onCopy("template1", work);
  }
  const folder = mkdtempSync(join(options.directory, "bench-outbox-"));
  try {
    return await work(join(folder, "outbox.db"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * Sends all due mail; returns mails a second. `onSent` gets the number of mails that are durably
 * done, after each of them.
 */
async function sendAll(
  target: string,
  due: number,
  onSent: (done: number) => void = () => {},
): Promise<number> {
  const store = await openStore(target);
  const over = Promise.withResolvers<void>();
  let done = 0;
  const worker = new Worker({
    store,
    concurrency: 256,
    batchSize: 128,
    senderOf: () => {
      const take = pretend(0);
      return async (envelope, message, options) => {
        await options.beforeCommit?.();
        return await take(envelope, message, options);
      };
    },
    onEvent: (event) => {
      if (event.kind !== "sent") return over.reject(new Error(`not sent: ${event.kind}`));
      onSent(++done);
      if (done === due) over.resolve();
    },
  });
  const startedMs = performance.now();
  worker.start();
  await over.promise;
  const seconds = (performance.now() - startedMs) / 1_000;
  await worker.stop();
  await store.close();
  return due / seconds;
}

async function drainOf(backlog: number): Promise<void> {
  printTitle(
    options.directory,
    `${whole(backlog)} due mails of ${whole(bytes)} bytes, ${options.store}.`,
  );
  const rows: string[][] = [];
  await withDatabase(async (target) => {
    filled(target, backlog, 0);
    const step = Math.ceil(backlog / 10);
    let disturbance = watchMachine();
    let sinceMs = performance.now();
    const addRow = (done: number, figures: string[], during: Disturbance) =>
      rows.push([whole(done), ...figures, ...disturbanceCells([during])]);
    await sendAll(target, backlog, (done) => {
      if (done % step !== 0) return;
      const nowMs = performance.now();
      const rate = whole((step * 1_000) / (nowMs - sinceMs));
      const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
      const memory = [rss, heapTotal, heapUsed, external].map((bytes) => whole(bytes / 2 ** 20));
      addRow(done, [rate, ...memory], disturbance());
      sinceMs = nowMs;
      disturbance = watchMachine();
    });
  });
  printTable(
    ["done", "done/s", "RSS MiB", "heap MiB", "of it used", "outside it", ...disturbanceHead],
    rows,
  );
  console.log(`
* heap: what V8 holds for the thread of the worker, and what of it is used; much of that is rubbish which
  it has not collected yet. outside it: buffers and the like.`);
}

async function besideScheduled(scheduled: number): Promise<void> {
  const { due, runs, store, directory } = options;
  printTitle(
    directory,
    `${whole(due)} due mails of ${whole(bytes)} bytes, ${store}; medians of ${runs} runs.`,
  );
  const results = await takeTurns([0, scheduled], options, (later) =>
    withDatabase(async (target) => {
      filled(target, due, later);
      return await sendAll(target, due);
    }),
  );
  printResults(["scheduled for later", "done/s"], results, (later, of) => [
    whole(later),
    whole(of((perSecond) => perSecond)),
  ]);
}
