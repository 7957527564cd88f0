/** What the worker tells, as the log lines that people and their alarms look for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mail, ok, refusal, workerLab } from "../../../test/support/worker-harness.ts";
import { workerLogLine } from "./events.ts";

test("sent, put off and given up are a line each, with the delivery, its label and its attempt", async (t) => {
  const answers = [refusal(451, "later"), ok, refusal(550, "nobody")];
  const lab = await workerLab(t, async () => [answers.shift() ?? ok], {
    maxAttempts: 3,
    random: () => 0.5,
  });
  const [first, second] = [1, 2].map(() => mail(["b@x.example"], { template: "login" }));
  assert.ok(first && second);
  await lab.store.enqueue([first]);
  await lab.worker.tick();
  const retryAt = lab.clock.wallTimeMs() + 5.5 * 60_000; // The middle of 5 to 6 minutes.
  lab.clock.stepWallTime(3_600_000);
  await lab.worker.tick();
  await lab.store.enqueue([second]);
  await lab.worker.tick();
  const common = { deliveryId: `${first.id}.1`, template: "login", route: "relay" };
  const reason = "permanent: 550 nobody";
  assert.deepEqual(lab.events.map(workerLogLine), [
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
