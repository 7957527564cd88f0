/** The events of a worker, and their log lines as people and alarms look for them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  mail,
  ok,
  properSender,
  refusal,
  workerHarness,
} from "../../../test/support/worker-harness.ts";
import { workerLogLine } from "./events.ts";

test("sent, retried and dead deliveries are one log line each, with their facts", async (t) => {
  const answers = [refusal(451, "later"), ok, refusal(550, "no such user")];
  const harness = await workerHarness(t, async () => [answers.shift() ?? ok], {
    maxAttempts: 3,
    random: () => 0.5,
  });
  const [first, second] = [1, 2].map(() => mail(["b@x.example"], { template: "login" }));
  assert.ok(first && second);
  await harness.store.enqueue([first]);
  await harness.worker.tick();
  const retryAt = harness.clock.wallTimeMs() + 5.5 * 60_000; // The middle of 5 to 6 minutes.
  harness.clock.stepWallTime(3_600_000);
  await harness.worker.tick();
  await harness.store.enqueue([second]);
  await harness.worker.tick();
  const common = { deliveryId: `${first.id}.1`, template: "login", route: "relay" };
  const reason = "permanent: 550 no such user";
  assert.deepEqual(harness.events.map(workerLogLine), [
    {
      level: "info",
      message: "mail delivery retry scheduled",
      fields: {
        ...{ ...common, cycleAttempt: 1, attemptNo: 1 },
        ...{ nextAttemptAt: new Date(retryAt), error: "451 later" },
      },
    },
    {
      level: "info",
      message: "mail delivery sent",
      fields: { ...common, cycleAttempt: 2, attemptNo: 2, durationMs: 0 },
    },
    {
      level: "warn",
      message: "mail delivery dead-lettered",
      fields: {
        ...{ ...common, deliveryId: `${second.id}.1`, cycleAttempt: 1, attemptNo: 1 },
        ...{ maxAttempts: 3, permanent: true, reason },
      },
    },
  ]);
});

test("an event listener that throws stops nothing; its error becomes a warning", async (t) => {
  const harness = await workerHarness(t, properSender, {
    onEvent: () => {
      throw new Error("a broken listener");
    },
  });
  const warned = new Promise((resolve) => process.once("warning", resolve));
  await harness.store.enqueue([mail(["b@x.example"])]);
  assert.equal((await harness.worker.tick()).sent, 1);
  assert.match(String(await warned), /a broken listener/);
});
