/** The reference profile does what a small mail worker of few promises does, and no less. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mail, ok, refusal, workerLab } from "../../../test/support/worker-harness.ts";
import { EventDispatcher } from "../hooks.ts";

const reference = { profile: "reference" } as const;
const hour = 3_600_000;

test("run works at once, then once per interval", async (t) => {
  const sentAtMs: number[] = [];
  const lab = await workerLab(
    t,
    async () => {
      sentAtMs.push(lab.clock.now());
      return [ok];
    },
    reference,
  );
  await lab.store.enqueue([mail(["b@x.example"])]);
  const stop = new AbortController();
  const running = lab.worker.run(stop.signal);
  await lab.until(() => sentAtMs.length === 1);
  await lab.store.enqueue([mail(["c@x.example"])]);
  await lab.until(() => sentAtMs.length === 2);
  stop.abort();
  await running;
  assert.deepEqual(sentAtMs, [0, 1_000]);
  assert.deepEqual(lab.kinds(), ["sent", "sent"], "the end is silent");
});

test("a tick that fails is told of and ends nothing, the first one too", async (t) => {
  const lab = await workerLab(t, async () => [ok], reference);
  await lab.store.enqueue([mail(["b@x.example"])]);
  lab.watched.fail("claim", 2);
  const stop = new AbortController();
  const running = lab.worker.run(stop.signal);
  await lab.until(() => lab.kinds().includes("sent"));
  stop.abort();
  await running;
  assert.deepEqual(lab.kinds(), ["store-failed", "store-failed", "sent"]);
});

test("a tick claims one delivery at a time, sixteen at most, and ends when nothing is due", async (t) => {
  let underWay = 0;
  const limits: unknown[] = [];
  const lab = await workerLab(
    t,
    async () => {
      underWay += 1;
      assert.equal(underWay, 1);
      await Promise.resolve();
      underWay -= 1;
      return [ok];
    },
    reference,
  );
  await lab.store.enqueue(Array.from({ length: 20 }, () => mail(["b@x.example"])));
  lab.watched.onCall = (name, argument) => {
    if (name === "claim") limits.push((argument as { limit: number }).limit);
  };
  assert.equal((await lab.worker.tick()).sent, 16);
  assert.equal((await lab.worker.tick()).sent, 4);
  assert.equal((await lab.worker.tick()).claimed, 0);
  assert.deepEqual(new Set(limits), new Set([1]));
});

test("a tick ends when its signal aborts; what is being sent is sent and written", async (t) => {
  const stop = new AbortController();
  const lab = await workerLab(
    t,
    async () => {
      stop.abort();
      return [ok];
    },
    reference,
  );
  await lab.store.enqueue([mail(["b@x.example"]), mail(["c@x.example"])]);
  const report = await lab.worker.tick(stop.signal);
  assert.deepEqual([report.claimed, report.sent], [1, 1]);
  assert.equal((await lab.store.stats()).lanes[0]?.queued, 1);
});

test("a retry that is due again at once does not spend its attempts in one tick", async (t) => {
  const atOnce = { kind: "steps", stepsMs: [0], jitter: 0, minMs: 0, maxMs: 0 } as const;
  const lab = await workerLab(t, async () => [refusal(451, "later")], {
    ...reference,
    retry: atOnce,
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  assert.equal((await lab.worker.tick()).retry, 1);
  assert.equal((await lab.stateOf(message.id))?.cycleAttempts, 1);
});

test("nor does a tick go on without end on a store slower than what is given back waits", async (t) => {
  const atOnce = { kind: "steps", stepsMs: [0], jitter: 0, minMs: 0, maxMs: 0 } as const;
  const lab = await workerLab(t, async () => [refusal(451, "later")], {
    ...reference,
    retry: atOnce,
  });
  lab.watched.onCall = (name) => {
    if (name === "claim") lab.clock.stepWallTime(hour);
  };
  await lab.store.enqueue([mail(["b@x.example"]), mail(["c@x.example"])]);
  const { claimed, retry } = await lab.worker.tick();
  assert.deepEqual({ claimed, retry }, { claimed: 2, retry: 2 });
});

test("eight attempts and no more; the dead letter says the last error, without a prefix", async (t) => {
  const lab = await workerLab(t, async () => [refusal(451, "busy")], reference);
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  for (let tries = 1; tries <= 8; tries += 1) {
    assert.equal((await lab.worker.tick()).claimed, 1);
    const row = await lab.stateOf(message.id);
    assert.equal(row?.state, tries < 8 ? "pending" : "dead");
    assert.equal(row?.cycleAttempts, tries);
    lab.clock.stepWallTime(2 * hour);
  }
  assert.equal((await lab.stateOf(message.id))?.reason, "451 busy");
});

test("a permanent refusal is dead at once, and its reason says so", async (t) => {
  const lab = await workerLab(t, async () => [refusal(550, "no such user")], reference);
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  assert.equal((await lab.worker.tick()).dead, 1);
  assert.equal((await lab.stateOf(message.id))?.reason, "permanent: 550 no such user");
  const [dead] = lab.events;
  assert.ok(dead?.kind === "dead-lettered");
  assert.deepEqual([dead.permanent, dead.maxAttempts], [true, 8]);
});

test("a redrive begins a new cycle; the number of the attempt goes on", async (t) => {
  let open = false;
  const lab = await workerLab(t, async () => [open ? ok : refusal(550, "no")], reference);
  const message = mail(["b@x.example"], { template: "login" });
  await lab.store.enqueue([message]);
  await lab.worker.tick();
  open = true;
  await lab.store.redrive(message.id, { recipients: "undelivered", expireAfterMs: hour });
  await lab.worker.tick();
  const facts = lab.events.map((event) => "cycleAttempt" in event && event);
  assert.deepEqual(
    facts.map((event) => event && [event.cycleAttempt, event.attemptNo, event.template]),
    [
      [1, 1, "login"],
      [1, 2, "login"],
    ],
  );
});

test("the hook for dead letters hears of them after they are durable, with the error as it was said", async (t) => {
  const lab = await workerLab(t, async () => [refusal(550, "no")], reference);
  const message = mail(["b@x.example"], { template: "login" });
  await lab.store.enqueue([message]);
  await lab.worker.tick();
  const told: unknown[] = [];
  const dispatcher = new EventDispatcher({
    store: lab.store,
    hooks: {
      onDeadLetter: async ({ deliveryId, template, error, reason }) => {
        told.push([deliveryId, template, error, reason, (await lab.stateOf(message.id))?.state]);
      },
    },
  });
  await dispatcher.tick();
  assert.deepEqual(told, [[`${message.id}.1`, "login", "550 no", "permanent: 550 no", "dead"]]);
});

test("the first pause is five seconds at least and a quarter more at most", async (t) => {
  for (const [random, delayMs] of [
    [0, 5_000],
    [1 - Number.EPSILON, 6_250],
  ] as const) {
    const lab = await workerLab(t, async () => [refusal(451, "later")], {
      ...reference,
      random: () => random,
    });
    const message = mail(["b@x.example"]);
    await lab.store.enqueue([message]);
    await lab.worker.tick();
    const row = await lab.stateOf(message.id);
    assert.equal((row?.dueAtMs ?? 0) - lab.clock.wallTimeMs(), delayMs);
  }
});

test("a tick needs no timer: with the clock standing still it does all there is, and leaves none", async (t) => {
  const lab = await workerLab(t, async () => [ok], reference);
  await lab.store.enqueue([mail(["b@x.example"])]);
  assert.equal((await lab.worker.tick()).sent, 1);
  assert.equal(lab.clock.now(), 0);
  assert.equal(lab.clock.pendingTimers, 0);
});
