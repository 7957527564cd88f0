/** Enqueue inside a PostgreSQL transaction of Kysely or Drizzle, committed and rolled back. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { CompiledQuery, Kysely, PostgresDialect, type Transaction } from "kysely";
import pg from "pg";
import { createOutbox, openPostgresStore, type QueryHandle } from "../../../src/outbox/index.ts";
import { withPostgres } from "../../support/postgres.ts";

const pgTest = withPostgres({ fsync: false });
const mail = { from: "shop@example.org", to: "ann@one.example", subject: "Order", text: "Thanks!" };
const refuse = new Error("not paid");

pgTest("Kysely: { query } enqueues inside its transaction", async (_t, server) => {
  const connectionString = await server.database();
  await using outbox = createOutbox({ store: await openPostgresStore({ connectionString }) });
  const db = new Kysely<{ orders: { customer: string } }>({
    dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString }) }),
  });
  await db.schema.createTable("orders").addColumn("customer", "text").execute();
  const handleOf = (trx: Transaction<{ orders: { customer: string } }>): QueryHandle => ({
    query: (text, values) =>
      trx.executeQuery<Record<string, unknown>>(CompiledQuery.raw(text, values)),
  });
  const order = (customer: string, isPaid: boolean) =>
    db.transaction().execute(async (trx) => {
      await trx.insertInto("orders").values({ customer }).execute();
      await outbox.enqueue({ ...mail, to: customer }, { tx: handleOf(trx) });
      if (!isPaid) throw refuse;
    });
  await order("ann@one.example", true);
  await assert.rejects(order("bob@one.example", false), refuse);
  assert.equal((await db.selectFrom("orders").selectAll().execute()).length, 1);
  const { deliveries } = await outbox.list();
  assert.deepEqual(
    deliveries.map(({ recipients }) => recipients[0]?.address),
    ["ann@one.example"],
  );
  await db.destroy();
});

pgTest("Drizzle: the client of the transaction is the handle", async (_t, server) => {
  const connectionString = await server.database();
  await using outbox = createOutbox({ store: await openPostgresStore({ connectionString }) });
  const client = new pg.Client({ connectionString });
  await client.connect();
  const db = drizzle(client);
  await db.execute(sql`create table orders (customer text)`);
  const order = (customer: string, isPaid: boolean) =>
    db.transaction(async (tx) => {
      await tx.execute(sql`insert into orders values (${customer})`);
      await outbox.enqueue({ ...mail, to: customer }, { tx: client });
      if (!isPaid) throw refuse;
    });
  await order("ann@one.example", true);
  await assert.rejects(order("bob@one.example", false), refuse);
  assert.equal((await client.query("select 1 from orders")).rowCount, 1);
  const { deliveries } = await outbox.list();
  assert.deepEqual(
    deliveries.map(({ recipients }) => recipients[0]?.address),
    ["ann@one.example"],
  );
  await client.end();
});
