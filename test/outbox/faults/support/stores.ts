/** Both stores, for what must hold on either: a new place for each test, and the hand on its clock. */
import { after, before, describe, type TestContext, test } from "node:test";
import { openPostgresStore } from "../../../../src/outbox/index.ts";
import type { Clock } from "../../../../src/system/index.ts";
import { Postgres, postgresBinaries } from "../../../support/postgres.ts";
import { MovedClock, temporaryFile } from "./fault-harness.ts";
import type { Place } from "./place.ts";

export interface StoreKind {
  readonly name: "SQLite" | "PostgreSQL";
  /** Makes an empty store, migrated. */
  newPlace(t: TestContext): Promise<Place>;
  /** The clock that decides there, with what a worker's store is to be opened with. */
  clockOf(place: Place): { readonly clock: Clock; step(ms: number): Promise<void> };
}

const sqlite: StoreKind = {
  name: "SQLite",
  newPlace: async (t) => ({ kind: "sqlite", file: temporaryFile(t) }),
  clockOf() {
    const clock = new MovedClock();
    return {
      clock,
      async step(ms) {
        clock.offsetMs += ms;
      },
    };
  },
};

/** Registers the tests of both, two at a time; those of PostgreSQL say so where it cannot run. */
export function onBothStores(register: (store: StoreKind) => void): void {
  describe("SQLite", { concurrency: 2 }, () => register(sqlite));
  onPostgres(register);
}

/** The same for one server of its own, shared by the tests. */
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
    newPlace: async () => ({
      kind: "postgres",
      connectionString: await server.database(migrated),
    }),
    clockOf(place) {
      let offsetMs = 0;
      const connectionString = place.kind === "postgres" ? place.connectionString : undefined;
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

/** What a server whose clock was set does from then on. */
function steppedClock(offsetMs: number): string {
  return `create or replace function postbag.outbox_now() returns bigint language sql stable
    parallel safe
    as $$ select (extract(epoch from statement_timestamp()) * 1000)::bigint + ${offsetMs} $$`;
}
