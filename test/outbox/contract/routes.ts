/** Routes: a failed route is blocked, spends no attempts, and is probed by one delivery. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { OutboxStore } from "../../../src/outbox/index.ts";
import { claim, claimOne, message, minute, type OpenStore, to } from "./support.ts";

const block = (store: OutboxStore, changes = {}) =>
  store.blockRoute({
    route: "down",
    reason: "421 4.3.2 closing",
    delaysMs: [minute, 5 * minute],
    isProbe: false,
    notify: true,
    ...changes,
  });
const down = () => message({ deliveries: [to("down", "a@down.example")] });

export function routeSuite(open: OpenStore): void {
  describe("routes", () => {
    test("deliveries of a blocked route wait, others are leased", async (t) => {
      const { store, advance } = await open(t);
      await store.enqueue([down(), down(), message()]);
      const row = await block(store);
      assert.equal(row.failures, 1);
      assert.equal(row.reason, "421 4.3.2 closing");
      const { deliveries, putOff } = await claim(store);
      assert.deepEqual(
        deliveries.map(({ route }) => route),
        ["relay"],
      );
      assert.equal(putOff, 2);
      assert.equal(await store.nextDue("normal"), minute);
      await advance(minute - 1);
      assert.equal((await claim(store)).deliveries.length, 0);
    });

    test("after the block exactly one delivery probes the route", async (t) => {
      const { store, another, advance } = await open(t);
      await store.enqueue([down(), down(), down()]);
      await block(store);
      await claim(store);
      await advance(minute);
      const other = await another();
      const claims = await Promise.all([claim(store), claim(other)]);
      const probes = claims.flatMap(({ deliveries }) => deliveries);
      assert.equal(probes.length, 1);
      assert.equal(probes[0]?.isProbe, true);
      assert.equal((await claim(store)).deliveries.length, 0);
    });

    test("new mail waits while a probe of its route is under way", async (t) => {
      const { store, another, advance } = await open(t);
      await store.enqueue([down()]);
      await block(store);
      await advance(minute);
      assert.equal((await claimOne(store)).isProbe, true);
      await store.enqueue([down()]);
      assert.deepEqual(await claim(await another()), { deliveries: [], putOff: 1 });
      await advance(minute + 1);
      const { deliveries } = await claim(store);
      assert.deepEqual(
        deliveries.map(({ isProbe }) => isProbe),
        [true],
        "a crashed probe is followed by one other",
      );
    });

    test("failures during one block count once, a failed probe counts again", async (t) => {
      const { store, advance } = await open(t);
      assert.equal((await block(store)).failures, 1);
      assert.equal((await block(store)).failures, 1);
      await advance(minute);
      const first = await store.now();
      await store.enqueue([down()]);
      assert.equal((await claimOne(store)).isProbe, true);
      assert.equal((await block(store)).failures, 1, "while the probe is under way");
      const probed = await block(store, { isProbe: true });
      assert.equal(probed.failures, 2);
      assert.equal(probed.blockedUntilMs, first + 5 * minute);
      await advance(5 * minute);
      assert.equal((await block(store)).failures, 3);
      const { blockedRoutes } = await store.stats();
      assert.deepEqual(
        blockedRoutes.map(({ route, failures }) => [route, failures]),
        [["down", 3]],
      );
    });

    test("restoring a route makes its deliveries due at once", async (t) => {
      const { store } = await open(t);
      await store.enqueue([down(), down(), down()]);
      await block(store, { delaysMs: [60 * minute] });
      assert.equal((await claim(store)).putOff, 3);
      const restore = { route: "down", limit: 2, notify: true };
      assert.equal(await store.restoreRoute(restore), 2);
      assert.equal(await store.restoreRoute(restore), 1);
      assert.equal(await store.restoreRoute(restore), 0);
      const { deliveries } = await claim(store);
      assert.deepEqual(
        deliveries.map(({ isProbe, crashes, cycleAttempts }) => [isProbe, crashes, cycleAttempts]),
        Array(3).fill([false, 0, 0]),
      );
      assert.deepEqual((await store.stats()).blockedRoutes, []);
      const events = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.deepEqual(
        events.map(({ type, data }) => [type, data.route]),
        [
          ["route.blocked", "down"],
          ["route.restored", "down"],
        ],
      );
      assert.equal(events[0]?.deliveryId, undefined);
    });

    test("restoring a route leaves the due times of its retries unchanged", async (t) => {
      const { store } = await open(t);
      const now = await store.now();
      await store.enqueue([{ ...down(), sendAtMs: now + 30 * minute }]);
      await block(store);
      assert.equal(await store.restoreRoute({ route: "down", limit: 10, notify: false }), 0);
      assert.equal((await claim(store)).deliveries.length, 0);
    });

    test("a blocked route does not reset the count of crashes", async (t) => {
      const { store, advance } = await open(t);
      await store.enqueue([down()]);
      await claimOne(store);
      await block(store);
      await advance(minute + 1);
      await block(store); // Blocked again before a probe.
      assert.equal((await claim(store)).putOff, 1);
      await advance(5 * minute);
      const { crashes, isProbe } = await claimOne(store);
      assert.deepEqual([crashes, isProbe], [1, true]);
    });

    test("a claim looks beyond the rows it puts off and respects its limit", async (t) => {
      const { store } = await open(t);
      await store.enqueue([...Array.from({ length: 20 }, down), message(), message(), message()]);
      await block(store);
      const near = await claim(store, { limit: 2 });
      assert.deepEqual([near.deliveries.length, near.putOff], [0, 2]);
      const far = await claim(store, { limit: 2, maxRows: 100 });
      assert.deepEqual(
        far.deliveries.map(({ route }) => route),
        ["relay", "relay"],
      );
      assert.equal(far.putOff, 18);
      assert.equal((await claim(store, { limit: 2, maxRows: 100 })).deliveries.length, 1);
    });

    test("an expired delivery is leased although its route is blocked, never as probe", async (t) => {
      const { store, advance } = await open(t);
      await store.enqueue([{ ...down(), expireAfterMs: minute / 2 }, down()]);
      await block(store);
      await advance(minute / 2);
      const early = await claim(store);
      assert.deepEqual(
        early.deliveries.map(({ isProbe, expiresInMs }) => [isProbe, expiresInMs <= 0]),
        [[false, true]],
      );
      await store.enqueue([{ ...down(), expireAfterMs: 1 }]);
      await advance(minute);
      const late = await claim(store);
      assert.deepEqual(
        late.deliveries.map(({ isProbe, expiresInMs }) => [isProbe, expiresInMs <= 0]).sort(),
        [
          [false, true],
          [false, true],
          [true, false],
        ],
      );
    });
  });
}
