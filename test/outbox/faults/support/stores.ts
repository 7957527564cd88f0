/** Registers tests on both stores: a new, empty store for each test, and a hold on its clock. */
import { after, before, describe, type TestContext, test } from "node:test";
import { openPostgresStore } from "../../../../src/outbox/index.ts";
import { Postgres, postgresBinaries } from "../../../support/postgres.ts";
import { temporaryFile } from "./fault-harness.ts";
import { MovedClock, type StoreClock, sqliteClock } from "./store-clock.ts";
import type { StoreLocation } from "./store-location.ts";

export interface StoreKind {
  readonly name: "SQLite" | "PostgreSQL";
  /** Makes an empty store, migrated. */
  newLocation(t: TestContext): Promise<StoreLocation>;
  clockOf(location: StoreLocation): StoreClock;
}

const sqlite: StoreKind = {
  name: "SQLite",
  newLocation: async (t) => ({ kind: "sqlite", file: temporaryFile(t) }),
  clockOf: () => sqliteClock(),
};

/**
 * Registers the tests of both, two at a time. Those of PostgreSQL are skipped where it cannot run.
 */
export function onBothStores(register: (store: StoreKind) => void): void {
  onSqlite(register);
  onPostgres(register);
}

/** The same for SQLite alone. */
export function onSqlite(register: (store: StoreKind) => void): void {
  describe("SQLite", { concurrency: 2 }, () => register(sqlite));
}

/** The same for PostgreSQL alone: one server for the tests of a file. */
export function onPostgres(
  register: (store: StoreKind, server: () => Postgres) => void,
  concurrency = 2,
): void {
  const found = postgresBinaries();
  if ("missing" in found) {
    test("PostgreSQL", (t) => t.skip(found.missing));
    return;
  }
  let server: Postgres;
  const migrated = "migrated";
  const store: StoreKind = {
    name: "PostgreSQL",
    newLocation: async () => ({
      kind: "postgres",
      connectionString: await server.database(migrated),
    }),
    clockOf(location) {
      let offsetMs = 0;
      const connectionString = location.kind === "postgres" ? location.connectionString : undefined;
      return {
        clock: new MovedClock(),
        async step(ms) {
          offsetMs += ms;
          await server.sql(steppedClock(offsetMs), connectionString);
        },
      };
    },
  };
  describe("PostgreSQL", { concurrency }, () => {
    before(async () => {
      server = await Postgres.start(found.bin);
      await server.sql(`create database ${migrated}`);
      const connectionString = server.connectionString(migrated);
      await (await openPostgresStore({ connectionString })).close();
    });
    after(() => server.stop());
    register(store, () => server);
  });
}

/** Makes the server answer as one whose clock was set. */
function steppedClock(offsetMs: number): string {
  return `create or replace function postbag.outbox_now() returns bigint language sql stable
    parallel safe
    as $$ select (extract(epoch from statement_timestamp()) * 1000)::bigint + ${offsetMs} $$`;
}
