/**
 * A PostgreSQL server that is killed and started again, is shut down, or has its backends ended one
 * after the other, while mail is enqueued and sent.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  eventually,
  faultHarness,
  shortLeaseMs,
} from "../../outbox/faults/support/fault-harness.ts";
import { newMessages } from "../../outbox/faults/support/outbox-expectations.ts";
import { onPostgres } from "../../outbox/faults/support/stores.ts";

onPostgres(({ newLocation }, server) => {
  /**
   * Disturbs the server at these final dots, while two workers send and an application enqueues.
   */
  async function disturbed(t: TestContext, at: readonly number[], disturb: () => Promise<unknown>) {
    const disturbances: Promise<unknown>[] = [];
    const harness = await faultHarness(t, {
      location: await newLocation(t),
      sink: {
        answer: ({ verb, nth }) => {
          if (verb === "dot" && at.includes(nth)) disturbances.push(disturb());
          return undefined;
        },
      },
    });
    const { expectations } = harness;
    await expectations.enqueue(...newMessages(60));
    const workers = [0, 1].map(() => harness.worker({ concurrency: 4, leaseMs: shortLeaseMs }));
    for (const worker of workers) worker.start();
    let isOver = false;
    const application = (async () => {
      while (!isOver) {
        await expectations.enqueue(...newMessages(1)).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    await eventually("the server was disturbed", () => disturbances.length === at.length);
    await Promise.all(disturbances);
    isOver = true;
    await application;
    await eventually("every delivery has ended", () => expectations.haveEnded().catch(() => false));
    for (const worker of workers) await worker.stop();
    const found = await expectations.check();
    assert.equal(found.dead, 0);
  }

  test("a server killed and started again loses no acknowledged mail", async (t) => {
    await disturbed(t, [20], async () => {
      await server().crash();
      await server().start();
    });
  });

  for (const how of ["fast", "immediate"] as const) {
    test(`a server shut down (${how}) and started again loses no acknowledged mail`, async (t) => {
      await disturbed(t, [20], async () => {
        await server().shutDown(how);
        await server().start();
      });
    });
  }

  test("a server whose backends are ended again and again loses no mail", async (t) => {
    const sql =
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'postbag'";
    await disturbed(t, [10, 20, 30, 40], () => server().sql(sql));
  });
}, 1);
