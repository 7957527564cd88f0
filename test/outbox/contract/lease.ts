/** Leases: claims, renewals and releases, and the crashes and doubts that expired leases leave. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
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

export function leaseSuite(open: OpenStore): void {
  describe("claims", () => {
    test("no other claim gets a leased delivery before its lease expires", async (t) => {
      const { store, another, advance } = await open(t);
      await store.enqueue([message()]);
      const other = await another();
      const [mine, theirs] = await Promise.all([claim(store), claim(other)]);
      assert.equal(mine.deliveries.length + theirs.deliveries.length, 1);
      await advance(minute - 1);
      assert.equal((await claim(other)).deliveries.length, 0);
      await advance(1);
      const again = await claimOne(other);
      assert.equal(again.crashes, 1);
      assert.notEqual(again.token, (mine.deliveries[0] ?? theirs.deliveries[0])?.token);
    });

    test("two claimers share a backlog without overlap", async (t) => {
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

    test("a claim takes the oldest due deliveries first, up to its limit", async (t) => {
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

    test("a large body is left out of the claim and read on request", async (t) => {
      const { store } = await open(t);
      const bytes = Buffer.alloc(300_000, "x\r\n");
      await store.enqueue([message({ bytes })]);
      const claimed = await claimOne(store, { inlineBytes: 1000 });
      assert.equal(claimed.bytes, undefined);
      assert.equal(claimed.size, bytes.length);
      assert.deepEqual(Buffer.from((await store.body(claimed.message)) ?? []), bytes);
    });
  });

  describe("leases", () => {
    test("a renewed lease lasts from its renewal", async (t) => {
      const { store, advance } = await open(t);
      const lease = await leased(store);
      await advance(50_000);
      assert.deepEqual(await store.renew([lease], minute), [true]);
      await advance(50_000);
      await advance(minute - 50_001);
      assert.equal((await claim(store)).deliveries.length, 0);
      await advance(1);
      assert.equal((await claimOne(store)).crashes, 1);
      assert.deepEqual(await store.renew([lease], minute), [false]);
    });

    test("an expired lease that no other claim took is still valid", async (t) => {
      const { store, advance } = await open(t);
      const lease = await leased(store);
      await advance(hour);
      assert.equal(await intend(store, lease), true);
      assert.deepEqual(await store.renew([lease], minute), [true]);
      assert.equal((await store.complete([sent(lease)]))[0]?.kind, "settled");
    });

    test("a list of leases is answered in its order", async (t) => {
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

    test("a released delivery spends nothing and is due after its delay", async (t) => {
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

    test("a release may change the lane until the next completion", async (t) => {
      const { store, advance } = await open(t);
      const { delivery, token } = await leased(store);
      await store.release([{ delivery, token, delayMs: 0, lane: "quarantine" }]);
      assert.equal((await claim(store)).deliveries.length, 0);
      const alone = await claimOne(store, { lane: "quarantine", limit: 1 });
      await store.complete([deferred(alone, minute)]);
      await advance(minute);
      assert.equal((await claimOne(store)).lane, "normal");
    });
  });

  describe("crashes and doubts", () => {
    test("crashes are counted until a completion resets them", async (t) => {
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

    test("a release does not reset the count of crashes", async (t) => {
      const { store, advance } = await open(t);
      await leased(store);
      await advance(minute + 1);
      const { delivery, token } = await claimOne(store);
      await store.release([{ delivery, token, delayMs: 0 }]);
      assert.equal((await claimOne(store)).crashes, 1);
    });

    test("an intent is written once, and only by the lease holder", async (t) => {
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

    test("a doubt outlives lease holders that leave it undecided", async (t) => {
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

    test("a release closes its own intent and leaves no doubt", async (t) => {
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

    test("without intents every expired lease is in doubt", async (t) => {
      const { store, advance } = await open(t);
      await store.enqueue([message()]);
      await claimOne(store, { intents: false });
      await advance(minute + 1);
      assert.equal((await claimOne(store)).inDoubt, true);
    });
  });

  describe("room and exceptions of routes", () => {
    test("deliveries beyond the room of their route are put off", async (t) => {
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

    test("deliveries of excepted routes move to lane local, due time unchanged", async (t) => {
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
      assert.deepEqual(again, { deliveries: [], putOff: 0 }, "they have left the lane");
      assert.equal(await store.nextDue("local"), 0);
      const stats = (await store.stats()).lanes.find(({ lane }) => lane === "local");
      assert.deepEqual([stats?.queued, stats?.due], [3, 3]);
      const found = await claim(store, { lane: "local" });
      assert.equal(found.deliveries.length, 3, "due at once");
      for (const { lane, lateMs, crashes } of found.deliveries) {
        assert.deepEqual([lane, crashes], ["local", 0]);
        assert.equal(lateMs, minute);
      }
      const [first] = found.deliveries;
      assert.ok(first);
      await store.complete([...deliveries.map((one) => sent(one)), deferred(first, hour)]);
      await advance(hour);
      assert.equal((await claimOne(store)).id, first.id, "back in its own lane");
    });

    test("of an excepted route a claim takes expired mail only, and no probe", async (t) => {
      const { store, advance } = await open(t);
      const theirs = (more = {}) =>
        message({ deliveries: [to("here", "a@here.example")], ...more });
      await store.enqueue([theirs(), theirs({ expireAfterMs: 1 })]);
      const block = { route: "here", reason: "452 disk full", delaysMs: [1], isProbe: false };
      await store.blockRoute({ ...block, notify: false });
      await advance(minute);
      const { deliveries, putOff } = await claim(store, { exceptRoutes: ["here"] });
      assert.equal(putOff, 1);
      assert.deepEqual(
        deliveries.map(({ expiresInMs, isProbe }) => [expiresInMs <= 0, isProbe]),
        [[true, false]],
        "an expired delivery is leased by any claim",
      );
      assert.equal((await claimOne(store, { lane: "local" })).isProbe, true);
    });

    test("rows of excepted routes do not block later rows", async (t) => {
      const { store } = await open(t);
      const theirs = () => message({ deliveries: [to("here", "a@here.example")] });
      await store.enqueue(Array.from({ length: 50 }, theirs));
      await store.enqueue([message()]);
      const request = { limit: 30, exceptRoutes: ["here"] };
      assert.deepEqual(await claim(store, request), { deliveries: [], putOff: 30 });
      assert.equal((await claim(store, request)).deliveries.length, 1);
      assert.equal((await claim(store, { lane: "local" })).deliveries.length, 50);
    });

    test("rows of routes without room do not hide later rows from a claim", async (t) => {
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
  });
}
