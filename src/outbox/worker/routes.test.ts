/**
 * Routes: a failed one is blocked and probed, a slow one gets its share, some are left to other
 * workers.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  byRoute,
  hourMs,
  mail,
  ok,
  properSender,
  refusal,
  workerHarness,
} from "../../../test/support/worker-harness.ts";

test("a failed route is blocked and spends no attempt; a successful probe opens it", async (t) => {
  let isOpen = false;
  const message = mail(["b@x.example"]);
  const { store, worker, events, clock, stateOf } = await workerHarness(t, async () =>
    isOpen ? [ok] : [refusal(421, "not now", "route")],
  );
  await store.enqueue([message, mail(["c@x.example"])]);
  await worker.tick();
  assert.equal((await stateOf(message.id))?.cycleAttempts, 0);
  assert.ok(events.some(({ kind }) => kind === "route-blocked"));
  assert.equal((await worker.tick()).sent, 0);
  isOpen = true;
  clock.stepWallTime(31_000);
  assert.equal((await worker.tick()).sent, 2);
  const kinds = events.map(({ kind }) => kind);
  assert.deepEqual(kinds.slice(-3), ["route-restored", "sent", "sent"]);
});

test("a failed route that the store does not block is not tried in a tight loop", async (t) => {
  let tries = 0;
  const harness = await workerHarness(t, async () => {
    tries += 1;
    return [refusal(421, "busy", "route")];
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  harness.watched.fail("blockRoute");
  harness.worker.start();
  await harness.until(() => harness.clock.now() > 60_000);
  await harness.settled(harness.worker.stop());
  assert.ok(tries <= 61, `${tries} tries in a minute`);
  assert.equal((await harness.stateOf(message.id))?.cycleAttempts, 0);
});

test("a route that the store fails to restore is probed again later", async (t) => {
  let isOpen = false;
  const harness = await workerHarness(t, async () => [isOpen ? ok : refusal(421, "busy", "route")]);
  await harness.store.enqueue([mail(["b@x.example"]), mail(["c@x.example"])]);
  await harness.worker.tick();
  isOpen = true;
  harness.watched.fail("restoreRoute", 1);
  harness.worker.start();
  await harness.until(() => harness.worker.stats().carried.sent === 2);
  await harness.settled(harness.worker.stop());
  assert.deepEqual((await harness.store.stats()).blockedRoutes, []);
});

// W12
test("a relay that is down for days spends no attempt and gets one probe at a time", async (t) => {
  let isOpen = false;
  let tries = 0;
  const harness = await workerHarness(
    t,
    async () => {
      tries += 1;
      return [isOpen ? ok : refusal(421, "down", "route")];
    },
    { maxAttempts: 2 },
  );
  const messages = Array.from({ length: 30 }, () => mail(["b@x.example"]));
  await harness.store.enqueue(messages);
  await harness.worker.tick();
  const atFirst = tries;
  for (let hours = 0; hours < 48; hours += 1) {
    harness.clock.stepWallTime(hourMs);
    await harness.worker.tick();
  }
  assert.equal(tries - atFirst, 48, "one probe an hourMs");
  for (const { id } of messages) {
    const row = await harness.stateOf(id);
    assert.deepEqual([row?.state, row?.cycleAttempts], ["pending", 0]);
  }
  isOpen = true;
  harness.clock.stepWallTime(hourMs);
  assert.equal((await harness.worker.tick()).sent, 30);
});

// W12
test("a backlog on a failed route does not hide mail on a working one", async (t) => {
  const harness = await workerHarness(t, async ({ recipients }) =>
    recipients[0]?.startsWith("down") ? [refusal(421, "down", "route")] : [ok],
  );
  const down = () => mail([], { deliveries: [byRoute("down", "down@x.example")] });
  await harness.store.enqueue(Array.from({ length: 5_000 }, down));
  await harness.store.enqueue([mail(["b@x.example"])]);
  harness.worker.start();
  await harness.until(() => harness.kinds().includes("sent"));
  assert.ok(harness.clock.now() < 1_000, `took ${harness.clock.now()} ms`);
  assert.ok(harness.watched.count("claim") < 60, `${harness.watched.count("claim")} claims`);
  await harness.settled(harness.worker.stop());
});

// W12
test("a blocked route whose oldest mail has expired is probed by the next delivery", async (t) => {
  let isOpen = false;
  const harness = await workerHarness(t, async () => [isOpen ? ok : refusal(421, "down", "route")]);
  const old = Array.from({ length: 5 }, () => mail(["old@x.example"], { expireAfterMs: hourMs }));
  await harness.store.enqueue([...old, mail(["b@x.example"])]);
  await harness.worker.tick();
  harness.clock.stepWallTime(2 * hourMs);
  isOpen = true;
  const report = await harness.worker.tick();
  assert.deepEqual([report.dead, report.sent], [5, 1]);
});

// W12
test("a probe whose worker vanished is followed by another once its lease has run out", async (t) => {
  const harness = await workerHarness(t, async () => [refusal(421, "down", "route")]);
  await harness.store.enqueue([mail(["b@x.example"]), mail(["c@x.example"])]);
  await harness.worker.tick();
  harness.clock.stepWallTime(hourMs);
  const { deliveries } = await harness.store.claim({
    ...{ lane: "normal", limit: 1, leaseMs: 60_000, worker: "gone", inlineBytes: 1 },
    ...{ intents: true, routeRoom: 9, putOffMs: 1 },
  });
  assert.equal(deliveries[0]?.isProbe, true);
  const open = harness.make({ senderOf: () => properSender });
  assert.equal((await open.tick()).claimed, 0);
  harness.clock.stepWallTime(60_001);
  assert.equal((await open.tick()).sent, 2);
});

// W12
test("a slow domain gets at most `routeConcurrency` of the sends under way", async (t) => {
  let slow = 0;
  const harness = await workerHarness(
    t,
    async ({ recipients }) => {
      if (!recipients[0]?.startsWith("slow")) return [ok];
      slow += 1;
      await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, hourMs));
      return [ok];
    },
    { concurrency: 10, routeConcurrency: 3, sendTimeoutMs: 2 * hourMs },
  );
  const slowMail = () => mail([], { deliveries: [byRoute("slow", "slow@x.example")] });
  await harness.store.enqueue(Array.from({ length: 200 }, slowMail));
  await harness.store.enqueue(Array.from({ length: 50 }, () => mail(["b@x.example"])));
  harness.worker.start();
  await harness.until(() => harness.worker.stats().carried.sent === 50);
  assert.equal(slow, 3);
  assert.ok(harness.clock.now() < 60_000);
  await harness.settled(harness.worker.stop({ drainMs: 0 }));
});

test("mail over `exceptRoutes` is left to the worker that has the mailboxes", async (t) => {
  const harness = await workerHarness(t, properSender, { exceptRoutes: ["here"] });
  const message = mail([], {
    deliveries: [byRoute("here", "a@here.example"), byRoute("there", "b@there.example")],
  });
  await harness.store.enqueue([message]);
  const states = async () => {
    const deliveries = (await harness.store.get(message.id))?.deliveries ?? [];
    return deliveries.map(({ route, state }) => `${route} ${state}`).toSorted();
  };
  const asked: string[] = [];
  harness.watched.onCall = (name, argument) => {
    if (name === "claim") asked.push((argument as { lane: string }).lane);
  };
  assert.equal((await harness.worker.tick()).sent, 1);
  assert.equal((await harness.worker.tick()).claimed, 0);
  assert.deepEqual(await states(), ["here pending", "there done"]);
  assert.ok(!asked.includes("local"), "it does not claim from the lane of the other workers");
  const home = harness.make({ exceptRoutes: [] });
  assert.equal((await home.tick()).sent, 1, "however often the first worker has asked");
  assert.deepEqual(await states(), ["here done", "there done"]);
});
