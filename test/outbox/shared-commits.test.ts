/**
 * The cost of calls of a store: concurrent calls share commits, much mail shares a notification,
 * and a locked database does not block the event loop.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import pg from "pg";
import {
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
  type SqliteStoreOptions,
} from "../../src/outbox/index.ts";
import { withPostgres } from "../support/postgres.ts";
import { SimClock } from "../support/sim-clock.ts";
import { atEnd, temporaryDirectory } from "../support/temporary.ts";
import { claim, message, sent } from "./contract/support.ts";

// Autovacuum takes transaction numbers of its own, which are counted here.
const pgTest = withPostgres({ fsync: false, settings: { autovacuum: "off" } });
const calls = 200;
/** Upper bound for the commits of all calls: the batches of either store, and a few more. */
const fewCommits = 10;

async function sqliteStore(t: TestContext, options: Partial<SqliteStoreOptions> = {}) {
  const file = join(temporaryDirectory(t, "outbox"), "outbox.db");
  const store = await openSqliteStore({ file, ...options });
  atEnd(t, () => store.close());
  return { store, file };
}

/**
 * Counts the commits in the write-ahead log: frames whose header has a size of the database.
 *
 * @see https://sqlite.org/fileformat.html#the_write_ahead_log
 */
function commitsOf(file: string): number {
  const log = readFileSync(`${file}-wal`);
  const frameBytes = 24 + log.readUInt32BE(8);
  let commits = 0;
  for (let at = 32; at + frameBytes <= log.length; at += frameBytes) {
    if (log.readUInt32BE(at + 4) > 0) commits += 1;
  }
  return commits;
}

/** Makes many enqueues, intents and completions at once, and counts the commits of each kind. */
async function countCommits(store: OutboxStore, commits: () => Promise<number> | number) {
  const counts: number[] = [];
  async function counted(work: () => Promise<unknown>): Promise<void> {
    const before = await commits();
    await work();
    counts.push((await commits()) - before);
  }
  const each = Array.from({ length: calls }, () => message());
  await counted(() => Promise.all(each.map((one) => store.enqueue([one]))));
  const { deliveries } = await claim(store, { limit: calls });
  assert.equal(deliveries.length, calls);
  await counted(() =>
    Promise.all(
      deliveries.map(({ delivery, token }) =>
        store.intend([{ delivery, token, worker: "w1", elapsedMs: 0 }]),
      ),
    ),
  );
  await counted(() => Promise.all(deliveries.map((lease) => store.complete([sent(lease)]))));
  return counts;
}

test("sqlite: concurrent enqueues, intents and completions share commits", async (t) => {
  const { store, file } = await sqliteStore(t);
  const counts = await countCommits(store, () => commitsOf(file));
  t.diagnostic(`${calls} calls each: ${counts.join(", ")} commits`);
  for (const count of counts) assert.ok(count >= 1 && count <= fewCommits, `${count} commits`);
});

pgTest(
  "postgres: concurrent enqueues, intents and completions share commits",
  async (t, server) => {
    const connectionString = await server.database();
    const store = await openPostgresStore({ connectionString });
    t.after(() => store.close());
    // Each transaction that writes takes the next number, and so does this query.
    const next = async () =>
      Number((await server.sql("select pg_current_xact_id()::text as id"))[0]?.id);
    const counts = await countCommits(store, next);
    t.diagnostic(`${calls} calls each: ${counts.map((count) => count - 1).join(", ")} commits`);
    for (const count of counts) assert.ok(count >= 2 && count <= fewCommits, `${count} commits`);
  },
);

test("sqlite: a locked database does not block the event loop", async (t) => {
  const { store, file } = await sqliteStore(t, { busyTimeoutMs: 600_000 });
  using other = new DatabaseSync(file);
  other.exec("begin immediate");
  const stored = store.enqueue([message()]);
  // On this thread the call would block the code that ends its wait.
  for (let turns = 0; turns < 1_000; turns += 1) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  other.exec("rollback");
  assert.equal((await stored)[0]?.kind, "stored");
});

pgTest("postgres: other processes are notified at most every 100 ms", async (t, server) => {
  const connectionString = await server.database();
  const clock = new SimClock();
  const store = await openPostgresStore({ connectionString, notify: true, clock });
  const client = new pg.Client({ connectionString });
  await client.connect();
  t.after(() => Promise.all([store.close(), client.end()]));
  const payloads: (string | undefined)[] = [];
  let notified = Promise.withResolvers<void>();
  client.on("notification", ({ payload }) => {
    payloads.push(payload?.replace(/^\S+ ?/, ""));
    notified.resolve();
  });
  await client.query("listen postbag_due_postbag");
  async function enqueueMany() {
    notified = Promise.withResolvers<void>();
    for (const lane of ["normal", "bulk", "normal", "bulk"] as const) {
      await store.enqueue([message({ lane })]);
    }
  }
  await enqueueMany();
  await notified.promise;
  assert.deepEqual(payloads, ["normal"]);
  clock.advance(99);
  await enqueueMany();
  clock.advance(1);
  await notified.promise;
  assert.deepEqual(payloads, ["normal", "bulk normal"]);
  clock.advance(100);
  // No lane is pending: the next notification is the one sent here.
  notified = Promise.withResolvers<void>();
  await client.query("notify postbag_due_postbag, 'me'");
  await notified.promise;
  assert.equal(payloads.length, 3);
});
