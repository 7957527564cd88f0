/**
 * How many mails a second the outbox on SQLite makes durable, and how long that blocks the event
 * loop of the application.
 *
 *   node bench/outbox-enqueue.ts
 *   … --callers 64 --bytes 1024 --runs 3 --seconds 2 --repeats 4
 *
 * Closed loop: each caller enqueues its next mail when its last one is durable. Compared with an
 * application that inserts by itself, with one transaction for each mail on the thread of the event
 * loop, also with WAL and synchronous FULL: once the outbox's rows, once a row of a plain table.
 * Every run has a fresh file; figures are medians over the runs.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { DatabaseSync } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import { createOutbox, openSqliteStore } from "../src/outbox/index.ts";
import { type BenchMail, benchMail, newMessage } from "./support/outbox-mail.ts";
import {
  benchOptions,
  disturbanceNote,
  ms,
  printResults,
  printTitle,
  takeTurns,
  whole,
} from "./support/run.ts";
import { quantile } from "./support/table.ts";

const options = benchOptions({
  callers: 64,
  bytes: 1_024,
  runs: 3,
  seconds: 2,
  repeats: 4,
  directory: ".",
});
const { callers, bytes, runs, seconds, directory } = options;
const maxMs = seconds * 1_000;

/** A way to store mail; `take` resolves when the mail is durable. */
interface Way extends AsyncDisposable {
  readonly take: (mail: BenchMail) => Promise<unknown>;
}

const ways: Readonly<Record<string, (file: string) => Promise<Way>>> = {
  "outbox.enqueue": async (file) => {
    const outbox = createOutbox({ store: await openSqliteStore({ file }) });
    return {
      take: ({ raw }) => outbox.enqueue({ raw }),
      [Symbol.asyncDispose]: () => outbox.close(),
    };
  },
  "store.enqueue, nothing to compose": async (file) => {
    const store = await openSqliteStore({ file });
    return {
      take: (mail) => store.enqueue([newMessage(mail, false)]),
      [Symbol.asyncDispose]: () => store.close(),
    };
  },
  "the outbox's rows, one transaction per mail": async (file) => {
    const store = await openSqliteStore({ file });
    const database = durableDatabase(file);
    return {
      async take(mail) {
        await nextTurn();
        database.exec("begin immediate");
        const stored = store.enqueueWithin(database, [newMessage(mail, false)]);
        database.exec("commit");
        await stored;
      },
      async [Symbol.asyncDispose]() {
        database.close();
        await store.close();
      },
    };
  },
  "one insert per transaction, a plain table": async (file) => {
    const database = durableDatabase(file);
    database.exec(
      "create table mail (key text primary key, sender text, recipient text, raw text)",
    );
    const insert = database.prepare("insert into mail values (?, ?, ?, ?)");
    return {
      async take({ key, from, to, raw }) {
        await nextTurn();
        insert.run(key, from, to, raw);
      },
      async [Symbol.asyncDispose]() {
        database.close();
      },
    };
  },
};

function durableDatabase(file: string): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: 5_000 });
  database.exec("pragma journal_mode = wal; pragma synchronous = full");
  return database;
}

interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly loopP99Ms: number;
  readonly loopMaxMs: number;
}

async function measure(open: (file: string) => Promise<Way>): Promise<Measured> {
  const folder = mkdtempSync(join(directory, "bench-outbox-"));
  try {
    await using way = await open(join(folder, "outbox.db"));
    const warmup = Math.min(500, maxMs / 4);
    await load(way, warmup);
    const loop = monitorEventLoopDelay({ resolution: 1 });
    loop.enable();
    const startedMs = performance.now();
    const latencies = await load(way, maxMs);
    const seconds = (performance.now() - startedMs) / 1_000;
    loop.disable();
    return {
      perSecond: latencies.length / seconds,
      p50Ms: quantile(latencies, 0.5),
      p99Ms: quantile(latencies, 0.99),
      loopP99Ms: loop.percentile(99) / 1e6,
      loopMaxMs: loop.max / 1e6,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Every caller stores one mail after the other for `forMs`; returns the milliseconds of each. */
async function load({ take }: Way, forMs: number): Promise<number[]> {
  const latencies: number[] = [];
  const endMs = performance.now() + forMs;
  const caller = async () => {
    for (let now = performance.now(); now < endMs; ) {
      await take(mails[next++ % mails.length] as BenchMail);
      const doneMs = performance.now();
      latencies.push(doneMs - now);
      now = doneMs;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return latencies;
}

// The mails are made before the runs, so that making them is not measured.
const mails = Array.from({ length: 120_000 }, () => benchMail(bytes));
let next = 0;

printTitle(
  directory,
  `${callers} callers, mails of ${whole(bytes)} bytes; SQLite, WAL, synchronous FULL; medians of ` +
    `${runs} runs of ${seconds} s.`,
);
const results = await takeTurns(Object.entries(ways), options, ([, open]) => measure(open));
printResults(
  ["taken by", "durable/s", "p50 ms", "p99 ms", "loop p99 ms", "loop max ms"],
  results,
  ([name], of) => [
    name,
    whole(of((one) => one.perSecond)),
    ms(of((one) => one.p50Ms)),
    ms(of((one) => one.p99Ms)),
    ms(of((one) => one.loopP99Ms)),
    ms(of((one) => one.loopMaxMs)),
  ],
);
console.log(`
* loop: how late the event loop was, sampled every millisecond; what is on time counts 1 ms.
${disturbanceNote}`);
