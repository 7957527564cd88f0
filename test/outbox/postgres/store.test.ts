/** The PostgreSQL store, on a real server, under the contract of all stores. */
import { after, before, type TestContext, test } from "node:test";
import pg from "pg";
import { type OutboxStore, openPostgresStore } from "../../../src/outbox/index.ts";
import { Postgres, postgresBinaries } from "../../support/postgres.ts";
import { conformance } from "../contract/contract.ts";
import { type ApplicationTransaction, type StoreUnderTest, startMs } from "../contract/support.ts";

const found = postgresBinaries();
let server: Postgres;

async function open(t: TestContext): Promise<StoreUnderTest> {
  const connectionString = await server.database("migrated");
  const stores: OutboxStore[] = [];
  let nowMs = startMs;
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
      nowMs += ms;
      await setClock(connectionString, nowMs);
    },
    transactions: {
      "a client of pg": begin((client) => client),
      query: begin((client) => ({ query: (text, values) => client.query(text, values) })),
    },
  };
}

/** Sets the clock of this database, which then stands still. */
async function setClock(connectionString: string, nowMs: number): Promise<void> {
  await server.sql(
    `create or replace function postbag.outbox_now() returns bigint language sql stable parallel safe
      as $$ select ${nowMs}::bigint $$`,
    connectionString,
  );
}

if ("missing" in found) {
  test("postgres: the contract of all stores", (t) => t.skip(found.missing));
} else {
  before(async () => {
    server = await Postgres.start(found.bin, { fsync: false }); // Logic only; the faults have it on.
    await server.sql("create database migrated");
    const connectionString = server.connectionString("migrated");
    const store = await openPostgresStore({ connectionString });
    await store.close();
    await setClock(connectionString, startMs);
  });
  after(() => server.stop());
  conformance("postgres", open);
}
