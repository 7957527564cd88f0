/** The dispatcher of events: each event reaches its hooks at least once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  EventDispatcher,
  type EventRow,
  type HookOptions,
  wantedBy,
} from "../../src/outbox/index.ts";
import { leased, refusedForGood, sent } from "./contract/support.ts";
import { freshOutbox } from "./support.ts";

const dead = {
  type: "delivery.dead",
  data: { template: "login", error: "550 gone", reason: "permanent: 550 gone" },
  notify: true,
} as const;

test("a dead letter reaches its hook once, with ids, template, error and reason", async (t) => {
  const { store, clock } = await freshOutbox(t);
  const lease = await leased(store);
  await store.complete([refusedForGood(lease, { events: [dead] })]);
  const deadLetters: unknown[] = [];
  const hooks = { onDeadLetter: (deadLetter: unknown) => deadLetters.push(deadLetter) };
  const dispatcher = new EventDispatcher({ store, hooks, clock });
  assert.equal(await dispatcher.tick(), 1);
  assert.equal(await dispatcher.tick(), 0);
  assert.deepEqual(deadLetters, [
    {
      deliveryId: lease.id,
      messageId: lease.messageId,
      template: "login",
      error: "550 gone",
      reason: "permanent: 550 gone",
      atMs: clock.wallTimeMs(),
    },
  ]);
});

test("a failed hook is called again with growing delays; other events go on", async (t) => {
  const { store, clock } = await freshOutbox(t);
  const first = await leased(store);
  await store.complete([refusedForGood(first, { events: [dead] })]);
  await store.complete([sent(await leased(store))]);
  const received: string[] = [];
  const errors: unknown[] = [];
  const hooks = {
    onEvent({ type, tries }: EventRow) {
      received.push(`${type} ${tries}`);
      if (type === "delivery.dead" && tries < 2) throw new Error("not yet");
    },
  };
  const onError = (error: unknown) => errors.push(error);
  const dispatcher = new EventDispatcher({ store, hooks, clock, onError });
  assert.equal(await dispatcher.tick(), 1);
  assert.equal(await dispatcher.tick(), 0);
  clock.advance(2000);
  assert.equal(await dispatcher.tick(), 0);
  clock.advance(3999);
  assert.equal(await dispatcher.tick(), 0, "the second delay is four seconds");
  clock.advance(1);
  assert.equal(await dispatcher.tick(), 1);
  assert.deepEqual(received, [
    "delivery.dead 0",
    "delivery.done 0",
    "delivery.dead 1",
    "delivery.dead 2",
  ]);
  assert.equal(errors.length, 2);
});

test("events that slow hooks leave no time for are released, none runs twice", async (t) => {
  const { store, clock } = await freshOutbox(t);
  for (let count = 0; count < 3; count += 1) {
    await store.complete([refusedForGood(await leased(store), { events: [dead] })]);
  }
  const received: string[] = [];
  const hooks = {
    onDeadLetter({ deliveryId }: { deliveryId: string }) {
      received.push(deliveryId);
      clock.advance(20_000);
    },
  };
  const dispatcher = new EventDispatcher({ store, hooks, clock, leaseMs: 60_000 });
  assert.equal(await dispatcher.tick(), 2, "half of the lease is over after two");
  const another = new EventDispatcher({ store, hooks, clock });
  assert.equal(await another.tick(), 1);
  assert.equal(new Set(received).size, 3);
});

test("a crash between a hook and its acknowledgement makes the hook run again", async (t) => {
  const { store, clock } = await freshOutbox(t);
  await store.complete([refusedForGood(await leased(store), { events: [dead] })]);
  let calls = 0;
  const hooks = { onDeadLetter: () => (calls += 1) };
  const crashed = { ...store, acknowledgeEvents: () => new Promise<never>(() => {}) };
  Object.setPrototypeOf(crashed, store);
  crashed.claimEvents = (request) => store.claimEvents(request);
  void new EventDispatcher({ store: crashed, hooks, clock }).tick();
  while (calls === 0) await store.stats();
  clock.advance(60_000);
  await new EventDispatcher({ store, hooks, clock }).tick();
  assert.equal(calls, 2);
});

test("wantedBy is true only for the event types that the hooks handle", () => {
  const types = ["delivery.dead", "delivery.done", "route.blocked"] as const;
  const wanted = (hooks: object) => types.map(wantedBy(hooks));
  assert.deepEqual(wanted({}), [false, false, false]);
  assert.deepEqual(wanted({ onDeadLetter() {} }), [true, false, false]);
  assert.deepEqual(wanted({ onEvent() {} }), [true, true, true]);
});

test("a started dispatcher polls until it is stopped, also after a store failure", async (t) => {
  const { store, clock } = await freshOutbox(t);
  let deadLetters = 0;
  let polls = 0;
  const failing = Object.create(store, {
    claimEvents: {
      value: (request: Parameters<typeof store.claimEvents>[0]) => {
        polls += 1;
        if (polls === 1) return Promise.reject(new Error("the store is away"));
        return store.claimEvents(request);
      },
    },
    acknowledgeEvents: { value: (seqs: readonly number[]) => store.acknowledgeEvents(seqs) },
  });
  const errors: unknown[] = [];
  const dispatcher = new EventDispatcher({
    store: failing,
    hooks: { onDeadLetter: () => (deadLetters += 1) },
    clock,
    onError: (error) => errors.push(error),
  });
  await store.complete([refusedForGood(await leased(store), { events: [dead] })]);
  dispatcher.start();
  while (clock.pendingTimers === 0) await store.stats();
  assert.equal(errors.length, 1);
  clock.advance(1000);
  while (deadLetters === 0) await store.stats();
  await dispatcher.stop();
  clock.advance(60_000);
  assert.equal(clock.pendingTimers, 0);
});

test("a hung hook is aborted and called again later; other events go on", async (t) => {
  const { store, clock } = await freshOutbox(t);
  await store.complete([refusedForGood(await leased(store), { events: [dead] })]);
  await store.complete([sent(await leased(store))]);
  const received: string[] = [];
  const errors: unknown[] = [];
  const signals: AbortSignal[] = [];
  const hooks = {
    onDeadLetter(_deadLetter: unknown, { signal }: HookOptions) {
      signals.push(signal);
      return signals.length === 1 ? new Promise(() => {}) : undefined;
    },
    onEvent: ({ type }: EventRow) => received.push(type),
  };
  const onError = (error: unknown) => errors.push(String(error));
  const dispatcher = new EventDispatcher({ store, hooks, clock, onError, timeoutMs: 5_000 });
  const ticking = dispatcher.tick();
  while (signals.length === 0) await store.stats();
  clock.advance(4_999);
  assert.equal(signals[0]?.aborted, false);
  clock.advance(1);
  assert.equal(signals[0]?.aborted, true);
  assert.equal(await ticking, 1);
  assert.deepEqual(received, ["delivery.done"]);
  assert.deepEqual(errors, ["Error: The hook took longer than 5000 ms"]);
  assert.equal(await dispatcher.tick(), 0);
  clock.advance(2_000);
  assert.equal(await dispatcher.tick(), 1);
  assert.deepEqual(received, ["delivery.done", "delivery.dead"]);
  assert.equal(clock.pendingTimers, 0);
});

test("stop waits for the running hook, starts no other and loses no event", async (t) => {
  const { store, clock } = await freshOutbox(t);
  for (let count = 0; count < 3; count += 1) await store.complete([sent(await leased(store))]);
  let calls = 0;
  const hooks = {
    onEvent(_event: EventRow, { signal }: HookOptions) {
      calls += 1;
      if (calls > 1) return;
      return new Promise((_, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason)),
      );
    },
  };
  const dispatcher = new EventDispatcher({ store, hooks, clock });
  dispatcher.start();
  while (calls === 0) await store.stats();
  const stopped = dispatcher.stop({ drainMs: 3_000 });
  clock.advance(3_000);
  await stopped;
  assert.equal(calls, 1);
  assert.equal(clock.pendingTimers, 0);
  const next = new EventDispatcher({ store, hooks, clock });
  assert.equal(await next.tick(), 2, "released at once");
  clock.advance(2_000);
  assert.equal(await next.tick(), 1, "the event of the aborted hook");
});

test("stop does not wait for ever for a store that does not answer", async (t) => {
  const { store, clock } = await freshOutbox(t);
  const silent = Object.create(store, {
    claimEvents: { value: () => new Promise<never>(() => {}) },
  });
  const dispatcher = new EventDispatcher({ store: silent, hooks: {}, clock });
  dispatcher.start();
  const stopped = dispatcher.stop({ drainMs: 1 });
  clock.advance(5_001);
  await stopped;
});

test("invalid dispatcher options are refused with the value received", async (t) => {
  const { store } = await freshOutbox(t);
  const refused = (options: object, message: RegExp) =>
    assert.throws(() => new EventDispatcher({ store, hooks: {}, ...options }), {
      code: "ERR_OUTBOX_OPTION",
      message,
    });
  refused({ timeoutMs: 60_000 }, /timeoutMs must be .* 1 to 30000; got 60000/);
  refused({ pollMs: 0 }, /pollMs .* got 0/);
  refused({ batchSize: 1.5 }, /batchSize .* got 1.5/);
  refused({ leaseMs: Number.NaN }, /leaseMs .* got NaN/);
});
