/** The gate before the final dot: open only with a durable intent and enough of a valid lease. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { askForDot, leaseMs, refused, steal } from "../../../test/support/lease-harness.ts";
import { mail, ok, refusal, workerHarness } from "../../../test/support/worker-harness.ts";

test("a due delivery is sent once, and its intent is durable before the final dot", async (t) => {
  let attemptsAtDot: unknown;
  const sent: unknown[] = [];
  const message = mail(["b@x.example"]);
  const { store, worker, events, stateOf } = await workerHarness(
    t,
    async (envelope, _, { beforeCommit }) => {
      await beforeCommit?.();
      attemptsAtDot = (await store.attempts(`${message.id}.1`)).map(({ outcome }) => outcome);
      sent.push(envelope);
      return [ok];
    },
  );
  await store.enqueue([message]);
  assert.equal((await worker.tick()).sent, 1);
  assert.equal((await worker.tick()).claimed, 0);
  assert.deepEqual(sent, [{ reversePath: "a@here.example", recipients: ["b@x.example"] }]);
  assert.deepEqual(attemptsAtDot, [undefined]);
  assert.equal((await stateOf(message.id))?.state, "done");
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["sent"],
  );
});

test("a delivery cancelled during its send is refused the dot and spends no attempt", async (t) => {
  let dots = 0;
  const message = mail(["b@x.example"]);
  const { store, worker, stateOf } = await workerHarness(t, async (_, __, { beforeCommit }) => {
    assert.deepEqual((await store.cancel(message.id, { notify: false }))[0]?.answer, "cancelled");
    await beforeCommit?.();
    dots += 1;
    return [ok];
  });
  await store.enqueue([message]);
  await worker.tick();
  assert.equal(dots, 0);
  assert.equal((await stateOf(message.id))?.state, "cancelled");
});

test("an intent acknowledged too late does not allow the final dot", async (t) => {
  const slow = { call: "intend", byMs: 19_000 } as const;
  assert.deepEqual(await askForDot(t, { afterMs: 1, slow, options: { leaseMs } }), refused);
});

test("a dot is refused when too little of the lease is left, also without intents", async (t) => {
  let refused: unknown;
  const harness = await workerHarness(
    t,
    async (_, __, { beforeCommit }) => {
      harness.watched.fail("renew");
      await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, 50_000));
      await beforeCommit?.().catch((error) => {
        refused = error;
        throw error;
      });
      return [ok];
    },
    { intents: false },
  );
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  assert.equal((await harness.settled(harness.worker.tick())).released, 1);
  assert.match(String(refused), /too little of the lease is left/);
  assert.equal((await harness.stateOf(message.id))?.cycleAttempts, 0);
});

for (const intents of [true, false]) {
  test(`a lease that another worker got refuses the dot, intents written: ${intents}`, async (t) => {
    const ask = { afterMs: 25_000, meanwhile: steal, options: { intents } };
    assert.deepEqual(await askForDot(t, ask), refused);
  });
}

test("a sender that reports its refused dot as an outcome spends no attempt", async (t) => {
  const harness = await workerHarness(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.().catch(() => {});
    return [refusal(451, "aborted", "message")];
  });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  harness.watched.fail("intend");
  assert.equal((await harness.worker.tick()).released, 1);
  assert.equal((await harness.stateOf(message.id))?.cycleAttempts, 0);
});

test("a sender whose second dot is refused leaves the delivery in doubt by the first", async (t) => {
  const harness = await workerHarness(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.();
    harness.watched.fail("intend");
    await beforeCommit?.();
    return [ok, ok];
  });
  await harness.store.enqueue([mail(["b@x.example", "c@x.example"], { doubt: "hold" })]);
  assert.equal((await harness.worker.tick()).held, 1);
});
