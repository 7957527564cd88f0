/**
 * What happens to a PostgreSQL server in the middle of the work: it is killed and started again, shut
 * down, its backends are ended one after the other.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { become, faultLab } from "./support/fault-harness.ts";
import { letters } from "./support/outbox-expectations.ts";
import { onPostgres } from "./support/stores.ts";

onPostgres(({ newPlace }, server) => {
  /** Something is done to the server when so many messages have come, while two workers send on. */
  async function disturbed(t: TestContext, at: readonly number[], disturb: () => Promise<unknown>) {
    const deeds: Promise<unknown>[] = [];
    const lab = await faultLab(t, {
      place: await newPlace(t),
      sink: {
        answer: ({ verb, nth }) => {
          if (verb === "dot" && at.includes(nth)) deeds.push(disturb());
          return undefined;
        },
      },
    });
    await lab.ledger.enqueue(...letters(60));
    const workers = [lab.worker({ concurrency: 4 }), lab.worker({ concurrency: 4 })];
    for (const worker of workers) worker.start();
    // The application goes on too; what it is told is written down.
    let isDisturbed = false;
    const application = (async () => {
      while (!isDisturbed) await lab.ledger.enqueue(...letters(1)).catch(pause);
    })();
    await become("the server was disturbed", () => deeds.length === at.length);
    await Promise.all(deeds);
    isDisturbed = true;
    await application;
    await become("everything has ended", () => lab.ledger.isOver().catch(() => false));
    for (const worker of workers) await worker.stop();
    const books = await lab.ledger.check();
    assert.equal(books.dead, 0);
  }

  test("the server is killed and started again while mail is enqueued and sent", async (t) => {
    await disturbed(t, [20], async () => {
      await server().crash();
      await server().start();
    });
  });

  for (const how of ["fast", "immediate"] as const) {
    test(`the server is shut down (${how}) and started again while mail is enqueued and sent`, async (t) => {
      await disturbed(t, [20], async () => {
        await server().shutDown(how);
        await server().start();
      });
    });
  }

  test("its backends are ended again and again", async (t) => {
    const sql =
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'postbag'";
    await disturbed(t, [10, 20, 30, 40], () => server().sql(sql));
  });
}, 1);

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
