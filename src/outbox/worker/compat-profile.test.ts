/**
 * The profile `reference`: behaves like the Go outbox worker of docs/explanation/compared.md,
 * promises no less.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hourMs, mail, ok, refusal, workerHarness } from "../../../test/support/worker-harness.ts";
import { EventDispatcher } from "../hooks.ts";

const reference = { profile: "reference" } as const;

test("run ticks at once, then once per interval", async (t) => {
  const sentAtMs: number[] = [];
  const harness = await workerHarness(
    t,
    async () => {
      sentAtMs.push(harness.clock.now());
      return [ok];
    },
    reference,
  );
  await harness.store.enqueue([mail(["b@x.example"])]);
  const stop = new AbortController();
  const running = harness.worker.run(stop.signal);
  await harness.until(() => sentAtMs.length === 1);
  await harness.store.enqueue([mail(["c@x.example"])]);
  await harness.until(() => sentAtMs.length === 2);
  stop.abort();
  await running;
  assert.deepEqual(sentAtMs, [0, 1_000]);
  assert.deepEqual(harness.kinds(), ["sent", "sent"], "the end is silent");
});

test("a tick that fails, even the first, is reported and does not end run", async (t) => {
  const harness = await workerHarness(t, async () => [ok], reference);
  await harness.store.enqueue([mail(["b@x.example"])]);
  harness.watched.fail("claim", 2);
  const stop = new AbortController();
  const running = harness.worker.run(stop.signal);
  await harness.until(() => harness.kinds().includes("sent"));
  stop.abort();
  await running;
  assert.deepEqual(harness.kinds(), ["store-failed", "store-failed", "sent"]);
});

test("a tick sends one delivery at a time, at most sixteen, until nothing is due", async (t) => {
  let underWay = 0;
  const limits: unknown[] = [];
  const harness = await workerHarness(
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
  await harness.store.enqueue(Array.from({ length: 20 }, () => mail(["b@x.example"])));
  harness.watched.onCall = (name, argument) => {
    if (name === "claim") limits.push((argument as { limit: number }).limit);
  };
  assert.equal((await harness.worker.tick()).sent, 16);
  assert.equal((await harness.worker.tick()).sent, 4);
  assert.equal((await harness.worker.tick()).claimed, 0);
  assert.deepEqual(new Set(limits), new Set([1]));
});

test("an aborted tick records the delivery in flight and begins no other", async (t) => {
  const stop = new AbortController();
  const harness = await workerHarness(
    t,
    async () => {
      stop.abort();
      return [ok];
    },
    reference,
  );
  await harness.store.enqueue([mail(["b@x.example"]), mail(["c@x.example"])]);
  const report = await harness.worker.tick(stop.signal);
  assert.deepEqual([report.claimed, report.sent], [1, 1]);
  assert.equal((await harness.store.stats()).lanes[0]?.queued, 1);
});

test("a retry that is due again at once is not attempted twice in one tick", async (t) => {
  const atOnce = { kind: "steps", stepsMs: [0], jitter: 0, minMs: 0, maxMs: 0 } as const;
  const harness = await workerHarness(t, async () => [refusal(451, "later")], {
    ...reference,
    retry: atOnce,
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  assert.equal((await harness.worker.tick()).retry, 1);
  assert.equal((await harness.stateOf(message.id))?.cycleAttempts, 1);
});

test("a tick ends although the deliveries it releases are due again at once", async (t) => {
  const atOnce = { kind: "steps", stepsMs: [0], jitter: 0, minMs: 0, maxMs: 0 } as const;
  const harness = await workerHarness(t, async () => [refusal(451, "later")], {
    ...reference,
    retry: atOnce,
  });
  harness.watched.onCall = (name) => {
    if (name === "claim") harness.clock.stepWallTime(hourMs);
  };
  await harness.store.enqueue([mail(["b@x.example"]), mail(["c@x.example"])]);
  const { claimed, retry } = await harness.worker.tick();
  assert.deepEqual({ claimed, retry }, { claimed: 2, retry: 2 });
});

test("the eighth failed attempt is the last; the dead letter's reason has no prefix", async (t) => {
  const harness = await workerHarness(t, async () => [refusal(451, "busy")], reference);
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  for (let tries = 1; tries <= 8; tries += 1) {
    assert.equal((await harness.worker.tick()).claimed, 1);
    const row = await harness.stateOf(message.id);
    assert.equal(row?.state, tries < 8 ? "pending" : "dead");
    assert.equal(row?.cycleAttempts, tries);
    harness.clock.stepWallTime(2 * hourMs);
  }
  assert.equal((await harness.stateOf(message.id))?.reason, "451 busy");
});

test("a permanent refusal is a dead letter at once; its reason begins with permanent:", async (t) => {
  const harness = await workerHarness(t, async () => [refusal(550, "no such user")], reference);
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  assert.equal((await harness.worker.tick()).dead, 1);
  assert.equal((await harness.stateOf(message.id))?.reason, "permanent: 550 no such user");
  const [dead] = harness.events;
  assert.ok(dead?.kind === "dead-lettered");
  assert.deepEqual([dead.permanent, dead.maxAttempts], [true, 8]);
});

test("a redrive begins a new cycle; attempt numbers continue", async (t) => {
  let open = false;
  const harness = await workerHarness(t, async () => [open ? ok : refusal(550, "no")], reference);
  const message = mail(["b@x.example"], { template: "login" });
  await harness.store.enqueue([message]);
  await harness.worker.tick();
  open = true;
  await harness.store.redrive(message.id, { recipients: "undelivered", expireAfterMs: hourMs });
  await harness.worker.tick();
  const facts = harness.events.map((event) => "cycleAttempt" in event && event);
  assert.deepEqual(
    facts.map((event) => event && [event.cycleAttempt, event.attemptNo, event.template]),
    [
      [1, 1, "login"],
      [1, 2, "login"],
    ],
  );
});

test("onDeadLetter runs after the dead letter is durable, with the error as replied", async (t) => {
  const harness = await workerHarness(t, async () => [refusal(550, "no")], reference);
  const message = mail(["b@x.example"], { template: "login" });
  await harness.store.enqueue([message]);
  await harness.worker.tick();
  const calls: unknown[] = [];
  const dispatcher = new EventDispatcher({
    store: harness.store,
    hooks: {
      onDeadLetter: async ({ deliveryId, template, error, reason }) => {
        calls.push([
          deliveryId,
          template,
          error,
          reason,
          (await harness.stateOf(message.id))?.state,
        ]);
      },
    },
  });
  await dispatcher.tick();
  assert.deepEqual(calls, [[`${message.id}.1`, "login", "550 no", "permanent: 550 no", "dead"]]);
});

test("the first retry comes after 5 to 6.25 seconds", async (t) => {
  for (const [random, delayMs] of [
    [0, 5_000],
    [1 - Number.EPSILON, 6_250],
  ] as const) {
    const harness = await workerHarness(t, async () => [refusal(451, "later")], {
      ...reference,
      random: () => random,
    });
    const message = mail(["b@x.example"]);
    await harness.store.enqueue([message]);
    await harness.worker.tick();
    const row = await harness.stateOf(message.id);
    assert.equal((row?.dueAtMs ?? 0) - harness.clock.wallTimeMs(), delayMs);
  }
});

test("a tick works without timers and leaves none behind", async (t) => {
  const harness = await workerHarness(t, async () => [ok], reference);
  await harness.store.enqueue([mail(["b@x.example"])]);
  assert.equal((await harness.worker.tick()).sent, 1);
  assert.equal(harness.clock.now(), 0);
  assert.equal(harness.clock.pendingTimers, 0);
});
