/** Deliveries whose workers die: quarantined after three crashes, dead after five. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mail, ok, properSender, workerHarness } from "../../../test/support/worker-harness.ts";

// W3
test("a delivery that no worker survives is quarantined, then dead as poison", async (t) => {
  const harness = await workerHarness(t, properSender);
  const poison = mail(["poison@x.example"]);
  await harness.store.enqueue([poison]);
  const dies = { inlineBytes: 1, leaseMs: 60_000, worker: "w", intents: true, routeRoom: 9 };
  for (let crashes = 0; crashes < 5; crashes += 1) {
    for (const lane of ["normal", "quarantine"] as const) {
      await harness.store.claim({ ...dies, lane, limit: 1, putOffMs: 1 });
    }
    harness.clock.stepWallTime(61_000);
  }
  const good = mail(["b@x.example"]);
  await harness.store.enqueue([good]);
  const report = await harness.worker.tick();
  assert.deepEqual([report.sent, report.dead], [1, 1]);
  const row = await harness.stateOf(poison.id);
  assert.equal(row?.state, "dead");
  assert.match(row?.reason ?? "", /^poison: /);
});

// W3
test("quarantined deliveries are sent one at a time, also beside a full load of mail", async (t) => {
  let alone = 0;
  const harness = await workerHarness(
    t,
    async ({ recipients }) => {
      const isSuspect = recipients[0]?.startsWith("suspect");
      if (isSuspect) alone += 1;
      assert.ok(alone <= 1);
      await new Promise((resolve) => setImmediate(resolve));
      if (isSuspect) alone -= 1;
      return [ok];
    },
    { concurrency: 4, batchSize: 4 },
  );
  const suspects = Array.from({ length: 3 }, () => mail(["suspect@x.example"]));
  await harness.store.enqueue(suspects);
  const { deliveries } = await harness.store.claim({
    ...{ lane: "normal", limit: 3, leaseMs: 60_000, worker: "w", inlineBytes: 1 },
    ...{ intents: true, routeRoom: 9, putOffMs: 1 },
  });
  await harness.store.release(
    deliveries.map(({ delivery, token }) => {
      return { delivery, token, delayMs: 0, lane: "quarantine" as const };
    }),
  );
  await harness.store.enqueue(Array.from({ length: 40 }, () => mail(["b@x.example"])));
  for (let ticks = 0; ticks < 3; ticks += 1) await harness.worker.tick();
  for (const { id } of suspects) assert.equal((await harness.stateOf(id))?.state, "done");
});
