/**
 * What the outbox spends: one commit for many calls, one notification for much mail, and of the event
 * loop's thread nothing while the database works.
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
/** Those that are under way when the calls begin, and a few more: far less than one for each. */
const fewCommits = 10;

async function sqliteStore(t: TestContext, options: Partial<SqliteStoreOptions> = {}) {
  const file = join(temporaryDirectory(t, "outbox"), "outbox.db");
  const store = await openSqliteStore({ file, ...options });
  atEnd(t, () => store.close());
  return { store, file };
}

/**
 * Commits in the write-ahead log: frames whose header tells a size of the database.
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

/** Enqueues, declares and completes much mail at once, one call for each, and counts the commits. */
async function spend(store: OutboxStore, commits: () => Promise<number> | number) {
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
  const counts = await spend(store, () => commitsOf(file));
  t.diagnostic(`${calls} calls each: ${counts.join(", ")} commits`);
  for (const count of counts) assert.ok(count >= 1 && count <= fewCommits, `${count} commits`);
});

pgTest(
  "postgres: concurrent enqueues, intents and completions share commits",
  async (t, server) => {
    const connectionString = await server.database();
    const store = await openPostgresStore({ connectionString });
    t.after(() => store.close());
    // Each transaction that writes takes the next number, and so does asking.
    const next = async () =>
      Number((await server.sql("select pg_current_xact_id()::text as id"))[0]?.id);
    const counts = await spend(store, next);
    t.diagnostic(`${calls} calls each: ${counts.map((count) => count - 1).join(", ")} commits`);
    for (const count of counts) assert.ok(count >= 2 && count <= fewCommits, `${count} commits`);
  },
);

test("sqlite: a locked database does not block the event loop", async (t) => {
  const { store, file } = await sqliteStore(t, { busyTimeoutMs: 600_000 });
  using other = new DatabaseSync(file);
  other.exec("begin immediate");
  const stored = store.enqueue([message()]);
  // In this thread the call would keep whoever could end its wait from ever doing so.
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
  const heard: (string | undefined)[] = [];
  let rung = Promise.withResolvers<void>();
  client.on("notification", ({ payload }) => {
    heard.push(payload?.replace(/^\S+ ?/, ""));
    rung.resolve();
  });
  await client.query("listen postbag_due_postbag");
  async function enqueueMany() {
    rung = Promise.withResolvers<void>();
    for (const lane of ["normal", "bulk", "normal", "bulk"] as const) {
      await store.enqueue([message({ lane })]);
    }
  }
  await enqueueMany();
  await rung.promise;
  assert.deepEqual(heard, ["normal"]);
  clock.advance(99);
  await enqueueMany();
  clock.advance(1);
  await rung.promise;
  assert.deepEqual(heard, ["normal", "bulk normal"]);
  clock.advance(100);
  // Nothing was left to tell: what is heard next is from here.
  rung = Promise.withResolvers<void>();
  await client.query("notify postbag_due_postbag, 'me'");
  await rung.promise;
  assert.equal(heard.length, 3);
});
