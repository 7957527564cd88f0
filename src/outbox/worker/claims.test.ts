/** Claims: which lanes a worker asks and when, and how much it takes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  hourMs,
  mail,
  never,
  ok,
  properSender,
  workerHarness,
} from "../../../test/support/worker-harness.ts";

// W7
test("a started worker sends enqueued mail without waiting for a poll", async (t) => {
  const harness = await workerHarness(t, async () => [ok], { pollMs: [hourMs, hourMs] });
  harness.worker.start();
  await harness.store.enqueue([mail(["b@x.example"])]);
  await harness.until(() => harness.worker.stats().carried.sent === 1);
  assert.equal(harness.clock.now(), 0, "no timer has fired");
  await harness.settled(harness.worker.stop());
});

test("one mail costs an idle worker one claim, one intent and one completion", async (t) => {
  const harness = await workerHarness(t, properSender);
  const calls: unknown[] = [];
  harness.worker.start();
  await harness.until(() => harness.watched.count("claim") > 0);
  for (const lane of ["normal", "bulk", "critical"] as const) {
    harness.watched.onCall = (name, argument) =>
      calls.push(name === "claim" ? (argument as { lane: string }).lane : name);
    await harness.store.enqueue([mail(["b@x.example"], { lane })]);
    await harness.watched.quiet();
    assert.deepEqual(calls.splice(0), [lane, "intend", "complete"]);
  }
  assert.equal(harness.clock.now(), 0, "no timer has fired");
  assert.deepEqual(harness.kinds(), ["sent", "sent", "sent"]);
  await harness.settled(harness.worker.stop());
});

test("a poll asks every lane once, however often the worker wakes between polls", async (t) => {
  const harness = await workerHarness(t, async () => [ok], { pollMs: [50, 1_000] });
  const asked = new Map<string, number>();
  harness.watched.onCall = (name, argument) => {
    if (name !== "claim") return;
    const { lane } = argument as { lane: string };
    asked.set(lane, (asked.get(lane) ?? 0) + 1);
  };
  harness.worker.start();
  await harness.until(() => harness.clock.now() > 10_000);
  await harness.settled(harness.worker.stop());
  for (const lane of ["quarantine", "critical", "normal", "bulk"]) {
    const times = asked.get(lane) ?? 0;
    assert.ok(times >= 8 && times <= 11, `${lane}: ${times} times in 10 s`);
  }
});

test("lanes are claimed in order: critical, normal, then bulk", async (t) => {
  const sent: string[] = [];
  const harness = await workerHarness(
    t,
    async ({ recipients }) => {
      sent.push(recipients[0] as string);
      return [ok];
    },
    { concurrency: 2, batchSize: 8 },
  );
  for (const lane of ["bulk", "normal", "critical"] as const) {
    await harness.store.enqueue(
      Array.from({ length: 2 }, () => mail([`${lane}@x.example`], { lane })),
    );
  }
  await harness.worker.tick();
  assert.deepEqual(sent, [
    ...["critical@x.example", "critical@x.example", "normal@x.example", "normal@x.example"],
    ...["bulk@x.example", "bulk@x.example"],
  ]);
});

test("mail enqueued during a claim is sent without waiting for the next poll", async (t) => {
  const harness = await workerHarness(t, async () => [ok], { pollMs: [hourMs, hourMs] });
  const late = mail(["b@x.example"]);
  harness.watched.onCall = (name, argument) => {
    if (name !== "claim" || (argument as { lane: string }).lane !== "bulk") return;
    // The normal lane was found empty before.
    harness.watched.onCall = undefined;
    void harness.watched.store.enqueue([late]);
  };
  harness.worker.start();
  await harness.until(() => harness.kinds().includes("sent"));
  assert.equal(harness.clock.now(), 0);
  await harness.settled(harness.worker.stop());
});

test("mail enqueued between an empty claim and its answer is sent without a poll", async (t) => {
  const harness = await workerHarness(t, async () => [ok]);
  const { store } = harness.watched;
  let isFirst = true;
  const slow = new Proxy(store, {
    get(target, name) {
      if (name !== "claim") return Reflect.get(target, name);
      return async (request: Parameters<typeof store.claim>[0]) => {
        const answer = await store.claim(request);
        if (request.lane === "normal" && isFirst) {
          isFirst = false;
          await store.enqueue([mail(["b@x.example"])]);
        }
        return answer;
      };
    },
  });
  const worker = harness.make({ store: slow, pollMs: [hourMs, hourMs] });
  worker.start();
  await harness.until(() => harness.kinds().includes("sent"));
  assert.equal(harness.clock.now(), 0);
  await harness.settled(worker.stop());
});

test("a worker uses the room that slow servers leave free for other mail", async (t) => {
  const harness = await workerHarness(
    t,
    ({ recipients }) => (recipients[0]?.startsWith("slow") ? never : Promise.resolve([ok])),
    { concurrency: 8 },
  );
  await harness.store.enqueue(Array.from({ length: 7 }, () => mail(["slow@x.example"])));
  harness.worker.start();
  await harness.until(() => harness.worker.stats().inFlight === 7);
  await harness.store.enqueue([mail(["b@x.example"])]);
  await harness.until(() => harness.kinds().includes("sent"));
  assert.ok(harness.clock.now() < 1_000);
  await harness.settled(harness.worker.stop({ drainMs: 0 }));
});

// W6
test("a worker sends many deliveries at a time, at most `concurrency`", async (t) => {
  let underWay = 0;
  let max = 0;
  const leases: number[] = [];
  const harness = await workerHarness(
    t,
    async () => {
      underWay += 1;
      max = Math.max(max, underWay);
      await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, 10));
      underWay -= 1;
      return [ok];
    },
    { concurrency: 50, batchSize: 20 },
  );
  harness.watched.onCall = () => leases.push(harness.worker.stats().inFlight);
  await harness.store.enqueue(Array.from({ length: 1_000 }, () => mail(["b@x.example"])));
  harness.worker.start();
  await harness.until(() => harness.worker.stats().carried.sent === 1_000);
  await harness.settled(harness.worker.stop());
  assert.ok(max > 20 && max <= 50, `${max} at a time`);
  assert.ok(Math.max(...leases) <= 50);
});
