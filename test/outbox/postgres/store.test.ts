/** The store on a real PostgreSQL under the suite of all stores. */
import { after, before, type TestContext, test } from "node:test";
import pg from "pg";
import { type OutboxStore, openPostgresStore } from "../../../src/outbox/index.ts";
import { Postgres, postgresBinaries } from "../../support/postgres.ts";
import { conformance } from "../contract/contract.ts";
import type { ApplicationTransaction, StoreUnderTest } from "../contract/support.ts";

const found = postgresBinaries();
let server: Postgres;

async function open(t: TestContext): Promise<StoreUnderTest> {
  const connectionString = await server.database("migrated");
  const stores: OutboxStore[] = [];
  let offsetMs = 0;
  async function another(): Promise<OutboxStore> {
    const store = await openPostgresStore({ connectionString, migrate: false });
    stores.push(store);
    return store;
  }
  t.after(() => Promise.all(stores.map((store) => store.close())));

  function begin(handleOf: (client: pg.Client) => ApplicationTransaction["handle"]) {
    return async (): Promise<ApplicationTransaction> => {
      const client = new pg.Client({ connectionString });
      await client.connect();
      await client.query("begin");
      const end = (sql: string) => async () => {
        await client.query(sql);
        await client.end();
      };
      return { handle: handleOf(client), commit: end("commit"), rollback: end("rollback") };
    };
  }
  return {
    store: await another(),
    another,
    async advance(ms) {
      offsetMs += ms;
      await server.sql(
        `create or replace function postbag.outbox_now() returns bigint language sql stable as
          $$ select (extract(epoch from statement_timestamp()) * 1000)::bigint + ${offsetMs} $$`,
        connectionString,
      );
    },
    transactions: {
      "a client of pg": begin((client) => client),
      query: begin((client) => ({ query: (text, values) => client.query(text, values) })),
    },
  };
}

if ("missing" in found) {
  test("postgres: the suite of all stores", (t) => t.skip(found.missing));
} else {
  before(async () => {
    server = await Postgres.start(found.bin, { fsync: false }); // Logic only; see the faults.
    await server.sql("create database migrated");
    const connectionString = server.connectionString("migrated");
    const store = await openPostgresStore({ connectionString });
    await store.close();
  });
  after(() => server.stop());
  conformance("postgres", open);
}
