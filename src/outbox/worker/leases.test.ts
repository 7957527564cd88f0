/** Leases: how long the worker believes in them, how it renews them, what their loss means. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { askForDot, leaseMs, refused, thiefClaim } from "../../../test/support/lease-harness.ts";
import {
  hourMs,
  mail,
  never,
  ok,
  properSender,
  type WorkerHarness,
  workerHarness,
} from "../../../test/support/worker-harness.ts";

test("a lease is measured from the instant before its claim was sent", async (t) => {
  const slow = { call: "claim", byMs: 19_000 } as const;
  assert.deepEqual(await askForDot(t, { afterMs: 1, slow, options: { leaseMs } }), refused);
});

test("a renewed lease is measured from the instant before its renewal was sent", async (t) => {
  const slow = { call: "renew", byMs: 35_000 } as const;
  assert.equal((await askForDot(t, { afterMs: 58_000, slow })).answer, "granted");
  assert.deepEqual(await askForDot(t, { afterMs: 70_000, slow }), refused);
});

test("a heartbeat renews the lease of a long send while the worker has no other mail", async (t) => {
  let stolen = 0;
  const harness: WorkerHarness = await workerHarness(t, async () => {
    for (let times = 0; times < 60; times += 1) {
      await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, 10_000));
      const { deliveries } = await harness.watched.store.claim(thiefClaim);
      stolen += deliveries.length;
    }
    return [ok];
  });
  await harness.store.enqueue([mail(["b@x.example"])]);
  assert.equal((await harness.settled(harness.worker.tick())).sent, 1);
  assert.equal(stolen, 0);
});

test("a heartbeat without an answer does not stop the heartbeats", async (t) => {
  let renewals = 0;
  const harness = await workerHarness(t, async (_, __, { signal }) => {
    await new Promise((resolve) => {
      harness.clock.setTimeout(() => resolve(undefined), 100_000);
      signal.addEventListener("abort", resolve);
    });
    return [ok];
  });
  const { store } = harness.watched;
  const stuck = new Proxy(store, {
    get(target, name) {
      if (name !== "renew") return Reflect.get(target, name);
      return (...given: Parameters<typeof store.renew>) => {
        renewals += 1;
        return renewals === 1 ? never : store.renew(...given);
      };
    },
  });
  const worker = harness.make({ store: stuck });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  worker.start();
  await harness.until(() => harness.kinds().includes("sent"));
  await harness.settled(worker.stop());
  assert.ok(renewals >= 4, `${renewals} renewals in 100 s`);
});

test("a delivery whose send outlasts many leases is claimed by no other worker", async (t) => {
  let ended = false;
  const harness = await workerHarness(t, async () => {
    await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, 10 * 60_000));
    ended = true;
    return [ok];
  });
  await harness.store.enqueue([mail(["b@x.example"])]);
  harness.worker.start();
  await harness.until(() => harness.worker.stats().inFlight === 1);
  const other = harness.make();
  while (!ended) {
    assert.equal((await other.tick()).claimed, 0);
    const laterMs = harness.clock.now() + 10_000;
    await harness.until(() => ended || harness.clock.now() > laterMs);
  }
  await harness.settled(harness.worker.stop());
  assert.equal(harness.worker.stats().carried.sent, 1);
});

test("a lease that runs out before the dot aborts the send and spends no attempt", async (t) => {
  let reason: unknown;
  const harness = await workerHarness(t, async (_, __, { signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    reason = signal.reason;
    throw signal.reason;
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  harness.worker.start();
  await harness.until(() => harness.worker.stats().inFlight === 1);
  harness.watched.fail("renew");
  await harness.until(() => reason !== undefined);
  await harness.settled(harness.worker.stop());
  assert.match(String(reason), /LeaseLost: the lease ran out/);
  const row = await harness.stateOf(message.id);
  assert.deepEqual([row?.state, row?.cycleAttempts, row?.isLeased], ["pending", 0, false]);
});

test("a sender that was granted its dot is awaited although its lease runs out", async (t) => {
  const harness = await workerHarness(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.();
    harness.watched.fail("renew");
    await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, 200_000));
    return [ok];
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  assert.equal((await harness.settled(harness.worker.tick())).sent, 1);
  assert.deepEqual(
    (await harness.store.attempts(`${message.id}.1`)).map(({ outcome }) => outcome),
    ["delivered"],
  );
});

test("after an outage longer than the lease a worker does not claim its own send", async (t) => {
  let sends = 0;
  const harness = await workerHarness(t, async (envelope, message, given) => {
    sends += 1;
    const outcomes = await properSender(envelope, message, given);
    for (const call of ["claim", "renew", "complete"] as const) harness.watched.fail(call);
    return outcomes;
  });
  const message = mail(["b@x.example"], { doubt: "hold" });
  await harness.store.enqueue([message]);
  harness.worker.start();
  await harness.until(() => harness.clock.now() > 10 * 60_000);
  harness.watched.mend();
  await harness.until(() => harness.kinds().includes("sent"));
  await harness.settled(harness.worker.stop());
  assert.equal(sends, 1);
  const attempts = await harness.store.attempts(`${message.id}.1`);
  assert.deepEqual(
    attempts.map(({ outcome }) => outcome),
    ["delivered"],
  );
});

test("a store clock that jumps past a lease's end starts no second send in one worker", async (t) => {
  let sends = 0;
  const harness = await workerHarness(t, async (envelope, message, given) => {
    sends += 1;
    const outcomes = await properSender(envelope, message, given);
    if (sends === 1) harness.clock.stepWallTime(hourMs);
    await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, 5_000));
    return outcomes;
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  harness.worker.start();
  await harness.until(() => harness.clock.now() > 10_000);
  await harness.settled(harness.worker.stop());
  assert.equal(sends, 1);
  assert.equal((await harness.stateOf(message.id))?.state, "done");
});
