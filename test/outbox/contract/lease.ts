/** Leases: who holds a delivery, for how long, and what is known when its holder vanishes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  busy,
  claim,
  claimOne,
  deferred,
  hour,
  intend,
  leased,
  message,
  minute,
  type OpenStore,
  sent,
  shown,
  to,
} from "./support.ts";

export function leaseSuite(name: string, open: OpenStore): void {
  test(`${name}: a leased delivery is nobody else's until the lease runs out`, async (t) => {
    const { store, another, advance } = await open(t);
    await store.enqueue([message()]);
    const other = await another();
    const [mine, theirs] = await Promise.all([claim(store), claim(other)]);
    assert.equal(mine.deliveries.length + theirs.deliveries.length, 1);
    await advance(minute - 10_000);
    assert.equal((await claim(other)).deliveries.length, 0);
    await advance(10_001);
    const again = await claimOne(other);
    assert.equal(again.crashes, 1);
    assert.notEqual(again.token, (mine.deliveries[0] ?? theirs.deliveries[0])?.token);
  });

  test(`${name}: two claimers share a backlog without an overlap`, async (t) => {
    const { store, another } = await open(t);
    await store.enqueue(Array.from({ length: 60 }, () => message()));
    const other = await another();
    const claims = await Promise.all(
      [store, other, store, other].map((one) => claim(one, { limit: 25 })),
    );
    const ids = claims.flatMap(({ deliveries }) => deliveries.map(({ id }) => id));
    const rest = await claim(store);
    ids.push(...rest.deliveries.map(({ id }) => id));
    assert.equal(ids.length, 60);
    assert.equal(new Set(ids).size, 60);
  });

  test(`${name}: the oldest due comes first, and no more than the limit`, async (t) => {
    const { store, advance } = await open(t);
    const now = await store.now();
    const order = [30, 10, 20].map((offset) => message({ sendAtMs: now + offset * minute }));
    await store.enqueue(order);
    await advance(hour);
    const { deliveries } = await claim(store, { limit: 2 });
    assert.deepEqual(
      deliveries.map(({ messageId }) => messageId),
      [order[1]?.id, order[2]?.id],
    );
  });

  test(`${name}: a large body stays where it is until it is asked for`, async (t) => {
    const { store } = await open(t);
    const bytes = Buffer.alloc(300_000, "x\r\n");
    await store.enqueue([message({ bytes })]);
    const claimed = await claimOne(store, { inlineBytes: 1000 });
    assert.equal(claimed.bytes, undefined);
    assert.equal(claimed.size, bytes.length);
    assert.deepEqual(Buffer.from((await store.body(claimed.message)) ?? []), bytes);
  });

  test(`${name}: a renewed lease lasts from the renewal`, async (t) => {
    const { store, advance } = await open(t);
    const lease = await leased(store);
    await advance(50_000);
    assert.deepEqual(await store.renew([lease], minute), [true]);
    await advance(50_000);
    assert.equal((await claim(store)).deliveries.length, 0);
    await advance(10_001);
    assert.equal((await claimOne(store)).crashes, 1);
    assert.deepEqual(await store.renew([lease], minute), [false]);
  });

  test(`${name}: a lease that ran out and that nobody took is still good`, async (t) => {
    const { store, advance } = await open(t);
    const lease = await leased(store);
    await advance(hour);
    assert.equal(await intend(store, lease), true);
    assert.deepEqual(await store.renew([lease], minute), [true]);
    assert.equal((await store.complete([sent(lease)]))[0]?.kind, "settled");
  });

  test(`${name}: answers of a list stand in its order`, async (t) => {
    const { store } = await open(t);
    await store.enqueue([message(), message()]);
    const { deliveries } = await claim(store);
    const [first, second] = deliveries;
    assert.ok(first && second);
    const wrong = { delivery: first.delivery, token: first.token + 1000 };
    assert.deepEqual(await store.renew([second, wrong, first], minute), [true, false, true]);
    const intent = { worker: "w1", elapsedMs: 0 };
    const intents = [
      { ...wrong, ...intent },
      { delivery: second.delivery, token: second.token, ...intent },
    ];
    assert.deepEqual(await store.intend(intents), [false, true]);
    const released = await store.release([
      { ...wrong, delayMs: 0 },
      { delivery: first.delivery, token: first.token, delayMs: 0 },
    ]);
    assert.deepEqual(released, [false, true]);
  });

  test(`${name}: what is given back spends nothing and is due when it was said`, async (t) => {
    const { store, advance } = await open(t);
    const lease = await leased(store);
    const { delivery, token } = lease;
    assert.deepEqual(await store.release([{ delivery, token, delayMs: minute, reply: busy }]), [
      true,
    ]);
    assert.equal((await claim(store)).deliveries.length, 0);
    assert.deepEqual((await shown(store, lease.id)).lastReply, busy);
    await advance(minute);
    const again = await claimOne(store);
    assert.equal(again.crashes, 0);
    assert.equal(again.cycleAttempts, 0);
    assert.deepEqual(await store.attempts(lease.id), []);
    assert.deepEqual(await store.release([{ delivery, token, delayMs: 0 }]), [false]);
  });

  test(`${name}: what is given back can change its lane, and returns by its completion`, async (t) => {
    const { store, advance } = await open(t);
    const { delivery, token } = await leased(store);
    await store.release([{ delivery, token, delayMs: 0, lane: "quarantine" }]);
    assert.equal((await claim(store)).deliveries.length, 0);
    const alone = await claimOne(store, { lane: "quarantine", limit: 1 });
    await store.complete([deferred(alone, minute)]);
    await advance(minute);
    assert.equal((await claimOne(store)).lane, "normal");
  });

  test(`${name}: crashes are counted until somebody finishes`, async (t) => {
    const { store, advance } = await open(t);
    await store.enqueue([message()]);
    for (const crashes of [0, 1, 2, 3, 4]) {
      const claimed = await claimOne(store);
      assert.equal(claimed.crashes, crashes);
      assert.equal(claimed.inDoubt, false);
      await advance(minute + 1);
    }
    const claimed = await claimOne(store);
    await store.complete([deferred(claimed, 0)]);
    assert.equal((await claimOne(store)).crashes, 0);
  });

  test(`${name}: giving back does not forget the crashes`, async (t) => {
    const { store, advance } = await open(t);
    await leased(store);
    await advance(minute + 1);
    const { delivery, token } = await claimOne(store);
    await store.release([{ delivery, token, delayMs: 0 }]);
    assert.equal((await claimOne(store)).crashes, 1);
  });

  test(`${name}: an intent is written once, and only by the holder`, async (t) => {
    const { store, advance } = await open(t);
    const lease = await leased(store);
    assert.equal(await intend(store, lease), true);
    assert.equal(await intend(store, lease), true);
    const [attempt, ...more] = await store.attempts(lease.id);
    assert.equal(more.length, 0);
    assert.equal(attempt?.attemptNo, 1);
    assert.equal(attempt?.outcome, undefined);
    assert.equal(attempt?.finishedAtMs, undefined);
    await advance(minute + 1);
    const next = await claimOne(store);
    assert.equal(next.inDoubt, true);
    assert.equal(await intend(store, lease), false);
    assert.equal((await store.attempts(lease.id)).length, 1);
  });

  test(`${name}: a doubt outlives holders that do nothing about it`, async (t) => {
    const { store, advance } = await open(t);
    const lease = await leased(store);
    await intend(store, lease);
    await advance(minute + 1);
    const { delivery, token, inDoubt } = await claimOne(store);
    assert.equal(inDoubt, true);
    await store.release([{ delivery, token, delayMs: 0 }]);
    assert.equal((await claimOne(store)).inDoubt, true, "after a release");
    await advance(minute + 1);
    assert.equal((await claimOne(store)).inDoubt, true, "after another crash");
  });

  test(`${name}: giving back closes the own intent, so that there is no doubt`, async (t) => {
    const { store } = await open(t);
    const lease = await leased(store);
    await intend(store, lease);
    const { delivery, token } = lease;
    await store.release([{ delivery, token, delayMs: 0, reply: busy }]);
    const next = await claimOne(store);
    assert.deepEqual([next.inDoubt, next.lastReply], [false, busy]);
    const [attempt] = await store.attempts(lease.id);
    assert.equal(attempt?.outcome, "deferred");
    assert.equal((await shown(store, lease.id)).cycleAttempts, 0);
  });

  test(`${name}: without intents every lease that ran out is a doubt`, async (t) => {
    const { store, advance } = await open(t);
    await store.enqueue([message()]);
    await claimOne(store, { intents: false });
    await advance(minute + 1);
    assert.equal((await claimOne(store)).inDoubt, true);
  });

  test(`${name}: what exceeds the room of its route is put off`, async (t) => {
    const { store, advance } = await open(t);
    await store.enqueue([
      ...Array.from({ length: 5 }, () => message({ deliveries: [to("slow", "a@slow.example")] })),
      message({ deliveries: [to("busy", "b@busy.example")] }),
      message({ deliveries: [to("free", "c@free.example")] }),
    ]);
    const busyRoutes = [{ route: "busy", room: 0 }];
    const { deliveries, putOff } = await claim(store, { routeRoom: 2, busyRoutes });
    assert.deepEqual(deliveries.map(({ route }) => route).sort(), ["free", "slow", "slow"]);
    assert.equal(putOff, 4);
    assert.deepEqual(await claim(store, { routeRoom: 2 }), { deliveries: [], putOff: 0 });
    await advance(1000);
    const next = await claim(store, { routeRoom: 2 });
    assert.deepEqual(next.deliveries.map(({ route }) => route).sort(), ["busy", "slow", "slow"]);
  });

  test(`${name}: what a worker may not take it leaves in the lane for others, as due as it was`, async (t) => {
    const { store, advance } = await open(t);
    const theirs = () => message({ deliveries: [to("here", "a@here.example")] });
    await store.enqueue([theirs(), theirs(), theirs(), message()]);
    await advance(minute);
    const exceptRoutes = ["here", "elsewhere"];
    const { deliveries, putOff } = await claim(store, { exceptRoutes });
    assert.deepEqual(
      deliveries.map(({ route }) => route),
      ["relay"],
    );
    assert.equal(putOff, 3);
    const again = await claim(store, { exceptRoutes });
    assert.deepEqual(again, { deliveries: [], putOff: 0 }, "they are not met again");
    assert.equal(await store.nextDue("local"), 0);
    const stats = (await store.stats()).lanes.find(({ lane }) => lane === "local");
    assert.deepEqual([stats?.queued, stats?.due], [3, 3]);
    const found = await claim(store, { lane: "local" });
    assert.equal(found.deliveries.length, 3, "at once, whatever others have looked");
    for (const { lane, lateMs, crashes } of found.deliveries) {
      assert.deepEqual([lane, crashes], ["local", 0]);
      assert.ok(lateMs >= minute, `late by ${lateMs} ms`);
    }
    const [first] = found.deliveries;
    assert.ok(first);
    await store.complete([...deliveries.map((one) => sent(one)), deferred(first, hour)]);
    await advance(hour);
    assert.equal((await claimOne(store)).id, first.id, "back in its own lane");
  });

  test(`${name}: a worker neither tries nor crashes a route it may not take`, async (t) => {
    const { store, advance } = await open(t);
    const theirs = (more = {}) => message({ deliveries: [to("here", "a@here.example")], ...more });
    await store.enqueue([theirs(), theirs({ expireAfterMs: 1 })]);
    const block = { route: "here", reason: "452 disk full", delaysMs: [1], isProbe: false };
    await store.blockRoute({ ...block, notify: false });
    await advance(minute);
    const { deliveries, putOff } = await claim(store, { exceptRoutes: ["here"] });
    assert.equal(putOff, 1);
    assert.deepEqual(
      deliveries.map(({ expiresInMs, isProbe }) => [expiresInMs <= 0, isProbe]),
      [[true, false]],
      "what has expired is closed by whoever meets it",
    );
    assert.equal((await claimOne(store, { lane: "local" })).isProbe, true);
  });

  test(`${name}: rows left to others do not keep the rest from their turn`, async (t) => {
    const { store } = await open(t);
    const theirs = () => message({ deliveries: [to("here", "a@here.example")] });
    await store.enqueue(Array.from({ length: 50 }, theirs));
    await store.enqueue([message()]);
    const request = { limit: 30, exceptRoutes: ["here"] };
    assert.deepEqual(await claim(store, request), { deliveries: [], putOff: 30 });
    assert.equal((await claim(store, request)).deliveries.length, 1);
    assert.equal((await claim(store, { lane: "local" })).deliveries.length, 50);
  });

  test(`${name}: rows without room do not keep others from their turn`, async (t) => {
    const { store } = await open(t);
    const slow = () => message({ deliveries: [to("slow", "a@slow.example")] });
    await store.enqueue(Array.from({ length: 50 }, slow));
    await store.enqueue([message()]);
    const busyRoutes = [{ route: "slow", room: 0 }];
    const first = await claim(store, { limit: 30, busyRoutes });
    assert.equal(first.putOff, 30);
    const second = await claim(store, { limit: 30, busyRoutes });
    assert.equal(second.deliveries.length, 1);
  });
}
