/** A worker on PostgreSQL: its connections and transactions while it sends. */
import assert from "node:assert/strict";
import { openPostgresStore, Worker } from "../../../src/outbox/index.ts";
import { withPostgres } from "../../support/postgres.ts";
import { mail, ok } from "../../support/worker-harness.ts";

const test = withPostgres();

test("postgres: fifty sends at a time use three connections and no transaction", async (t, server) => {
  const connectionString = await server.database();
  const store = await openPostgresStore({ connectionString, maxConnections: 3 });
  t.after(() => store.close());
  await store.enqueue(Array.from({ length: 50 }, () => mail(["b@x.example"])));

  const allSending = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  let sending = 0;
  const worker = new Worker({
    store,
    concurrency: 50,
    senderOf: () => async (_, __, given) => {
      await given.beforeCommit?.();
      sending += 1;
      if (sending === 50) allSending.resolve();
      await goOn.promise;
      return [ok];
    },
  });
  const ticking = worker.tick();
  await allSending.promise;
  const connections = await server.sql(
    `select state, xact_start, backend_xmin from pg_stat_activity
     where application_name = 'postbag' and datname = current_database()`,
    connectionString,
  );
  assert.ok(connections.length > 0 && connections.length <= 3, `${connections.length} connections`);
  for (const connection of connections) {
    assert.deepEqual({ ...connection }, { state: "idle", xact_start: null, backend_xmin: null });
  }
  goOn.resolve();
  assert.equal((await ticking).sent, 50);
});
