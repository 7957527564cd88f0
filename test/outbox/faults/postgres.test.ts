/**
 * The ledger on PostgreSQL: workers killed at the points that differ from SQLite, the server killed and
 * started again in the middle of the work, its backends ended one after the other.
 */
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { openPostgresStore } from "../../../src/outbox/index.ts";
import { Postgres, postgresBinaries } from "../../support/postgres.ts";
import { points, tryPoint } from "./support/kill-points.ts";
import { become, faultLab } from "./support/lab.ts";
import { letter } from "./support/ledger.ts";
import type { Place } from "./support/place.ts";

const found = postgresBinaries();
let server: Postgres;

async function newPlace(): Promise<Place> {
  const connectionString = await server.database();
  await (await openPostgresStore({ connectionString })).close();
  return { kind: "postgres", connectionString };
}

const killedAt = ["after claim", "before intent", "after intent", "before commit", "after commit"];

/** Something is done to the server when so many messages have come, while a worker sends on. */
async function disturbed(t: TestContext, at: readonly number[], disturb: () => Promise<unknown>) {
  const deeds: Promise<unknown>[] = [];
  const lab = await faultLab(t, {
    place: await newPlace(),
    sink: {
      answer: ({ verb, nth }) => {
        if (verb === "dot" && at.includes(nth)) deeds.push(disturb());
        return undefined;
      },
    },
  });
  const letters = Array.from({ length: 60 }, (_, nth) =>
    letter({ doubt: nth % 2 === 0 ? "hold" : "resend" }),
  );
  await lab.ledger.enqueue(...letters);
  const workers = [lab.worker({ concurrency: 4 }), lab.worker({ concurrency: 4 })];
  for (const worker of workers) worker.start();
  await become("the server was disturbed", () => deeds.length === at.length);
  await Promise.all(deeds);
  await become("everything has ended", () => lab.ledger.isOver().catch(() => false));
  for (const worker of workers) await worker.stop();
  const books = await lab.ledger.check();
  assert.equal(books.dead, 0);
}

if ("missing" in found) {
  test("the ledger on PostgreSQL", (t) => t.skip(found.missing));
} else {
  before(async () => {
    server = await Postgres.start(found.bin);
  });
  after(() => server.stop());

  describe("workers on PostgreSQL", () => {
    for (const point of points.filter(({ name }) => killedAt.includes(name))) {
      tryPoint(point, "resend", newPlace);
      if (point.inDoubt) tryPoint(point, "hold", newPlace);
    }

    test("the server is killed and started again while mail is being sent", async (t) => {
      await disturbed(t, [20], async () => {
        await server.crash();
        await server.start();
      });
    });

    test("the server is stopped at once and started again while mail is being sent", async (t) => {
      await disturbed(t, [20], async () => {
        await server.shutDown();
        await server.start();
      });
    });

    test("its backends are ended again and again", async (t) => {
      const sql =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'postbag'";
      await disturbed(t, [10, 20, 30, 40], () => server.sql(sql));
    });
  });
}
