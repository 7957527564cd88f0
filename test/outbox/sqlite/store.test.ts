/** The SQLite store under the contract of all stores. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { TestContext } from "node:test";
import { type OutboxStore, openSqliteStore, type QueryHandle } from "../../../src/outbox/index.ts";
import { systemClock } from "../../../src/system/index.ts";
import { atEnd, temporaryDirectory } from "../../support/temporary.ts";
import { conformance } from "../contract/contract.ts";
import { type ApplicationTransaction, type StoreUnderTest, startMs } from "../contract/support.ts";

async function open(t: TestContext): Promise<StoreUnderTest> {
  const file = join(temporaryDirectory(t, "outbox"), "outbox.db");
  const stores: OutboxStore[] = [];
  let nowMs = startMs;
  const clock = { ...systemClock, wallTimeMs: () => nowMs };
  async function another(): Promise<OutboxStore> {
    const store = await openSqliteStore({ file, clock });
    stores.push(store);
    return store;
  }
  atEnd(t, () => Promise.all(stores.map((store) => store.close())));

  function begin(handleOf: (database: DatabaseSync) => ApplicationTransaction["handle"]) {
    return async (): Promise<ApplicationTransaction> => {
      const database = new DatabaseSync(file, { timeout: 5000 });
      database.exec("begin immediate");
      const end = (sql: string) => async () => {
        database.exec(sql);
        database.close();
      };
      return { handle: handleOf(database), commit: end("commit"), rollback: end("rollback") };
    };
  }
  return {
    store: await another(),
    another,
    advance(ms) {
      nowMs += ms;
    },
    transactions: {
      "node:sqlite": begin((database) => database),
      query: begin(queryOf),
    },
  };
}

/** The documented `query` over a synchronous connection. */
function queryOf(database: DatabaseSync): QueryHandle {
  return {
    async query(text, values) {
      return { rows: database.prepare(text).all(...(values as never[])) };
    },
  };
}

conformance("sqlite", open);
