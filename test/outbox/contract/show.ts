/** Views: lists, attempts, stats, signals of due mail, and the life of the store itself. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  claim,
  claimOne,
  deferred,
  hour,
  intend,
  leased,
  message,
  type OpenStore,
  refusedForGood,
  sent,
  shown,
  to,
} from "./support.ts";

export function showSuite(open: OpenStore): void {
  describe("lists", () => {
    test("a list is newest first and its pages have no gap", async (t) => {
      const { store } = await open(t);
      const given = Array.from({ length: 7 }, () => message());
      for (const one of given) await store.enqueue([one]);
      const ids: string[] = [];
      let cursor: string | undefined;
      for (let pages = 1; ; pages += 1) {
        const page = await store.list({ limit: 3, ...(cursor === undefined ? {} : { cursor }) });
        ids.push(...page.deliveries.map(({ messageId }) => messageId));
        cursor = page.next;
        if (pages === 2) await store.enqueue([message()]); // Newer deliveries do not shift the pages.
        if (cursor === undefined) break;
      }
      assert.deepEqual(ids, given.map(({ id }) => id).reverse());
    });

    test("a list can be filtered by state, route, template and recipient", async (t) => {
      const { store } = await open(t);
      const dead = await leased(store, { template: "login" });
      await store.complete([refusedForGood(dead)]);
      const done = await leased(store, { deliveries: [to("b.example", "x@b.example")] });
      await store.complete([sent(done)]);
      const waiting = await leased(store, { template: "login" });
      const idsOf = async (filter: object) =>
        (await store.list({ limit: 10, ...filter })).deliveries.map(({ id }) => id);
      assert.deepEqual(await idsOf({ state: "dead" }), [dead.id]);
      assert.deepEqual(await idsOf({ state: "done" }), [done.id]);
      assert.deepEqual(await idsOf({ state: "pending" }), [waiting.id]);
      assert.deepEqual(await idsOf({ state: "cancelled" }), []);
      assert.deepEqual(await idsOf({ route: "b.example" }), [done.id]);
      assert.deepEqual(await idsOf({ template: "login" }), [waiting.id, dead.id]);
      assert.deepEqual(await idsOf({ template: "login", state: "dead" }), [dead.id]);
      assert.deepEqual(await idsOf({ recipient: "x@b.example" }), [done.id]);
    });

    test("each attempt shows the host that answered, the delivery shows the last host", async (t) => {
      const { store } = await open(t);
      const by = (via: string) => ({ worker: "w1", elapsedMs: 1, spends: true, via });
      const first = await leased(store);
      await intend(store, first);
      const later = deferred(first, 0, { attempt: { ...by("mx1 [::1]:25"), outcome: "deferred" } });
      await store.complete([later]);
      await store.complete([deferred(await claimOne(store), 0)]);
      assert.equal((await shown(store, first.id)).lastVia, undefined);
      const last = await claimOne(store);
      await store.complete([sent(last, { attempt: { ...by("mx2"), outcome: "delivered" } })]);
      const attempts = await store.attempts(first.id);
      assert.deepEqual(
        attempts.map(({ via }) => via),
        ["mx1 [::1]:25", undefined, "mx2"],
      );
      assert.equal((await shown(store, first.id)).lastVia, "mx2");
      const { deliveries } = await store.list({ limit: 1 });
      assert.deepEqual([deliveries[0]?.lastVia, deliveries[0]?.attempts], ["mx2", 3]);
    });

    test("a cursor that no page returned is refused", async (t) => {
      const { store } = await open(t);
      for (const cursor of ["", "x", "1; drop table", "zzzzzzzzzzzzzzzzzzzz"]) {
        await assert.rejects(store.list({ limit: 1, cursor }), { code: "ERR_OUTBOX_OPTION" });
      }
    });
  });

  describe("stats", () => {
    test("stats count queued, due and leased deliveries and the oldest's age", async (t) => {
      const { store, advance } = await open(t);
      const now = await store.now();
      await store.enqueue([message(), message(), message({ sendAtMs: now + 5 * hour })]);
      await advance(hour);
      await store.enqueue([message({ lane: "bulk" })]);
      await claim(store, { limit: 1 });
      const { lanes, dead, inDoubt, blockedRoutes } = await store.stats();
      const normal = lanes.find(({ lane }) => lane === "normal");
      const bulk = lanes.find(({ lane }) => lane === "bulk");
      assert.deepEqual([normal?.queued, normal?.due, normal?.leased], [3, 1, 1]);
      assert.equal(normal?.oldestDueMs, hour);
      assert.deepEqual([bulk?.queued, bulk?.due, bulk?.leased], [1, 1, 0]);
      assert.equal(lanes.length, 2);
      assert.deepEqual([dead, inDoubt, blockedRoutes], [0, 0, []]);
      await store.complete((await claim(store)).deliveries.map((lease) => refusedForGood(lease)));
      assert.equal((await store.stats()).dead, 1);
    });
  });

  describe("signals", () => {
    test("an enqueue calls listeners with its lanes until they are removed", async (t) => {
      const { store } = await open(t);
      const calls: (string | undefined)[] = [];
      const stop = store.onDue((lane) => calls.push(lane));
      await store.enqueue([message(), message()]);
      assert.deepEqual(calls.splice(0), ["normal"]);
      await store.enqueue([message({ lane: "bulk" }), message({ lane: "critical" })]);
      assert.deepEqual(calls.splice(0), ["bulk", "critical"]);
      const { delivery, token } = await claimOne(store, { limit: 1 });
      await store.release([{ delivery, token, delayMs: 0, lane: "quarantine" }]);
      assert.deepEqual(calls.splice(0), [undefined], "any lane");
      stop();
      await store.enqueue([message()]);
      assert.deepEqual(calls, []);
    });

    test("mail in the caller's transaction calls listeners soon, then again", async (t) => {
      const { store, transactions } = await open(t);
      const begin = Object.values(transactions)[0];
      assert.ok(begin);
      const { handle, commit } = await begin();
      const calls: (string | undefined)[] = [];
      const again = Promise.withResolvers<void>();
      store.onDue((lane) => {
        if (calls.push(lane) === 2) again.resolve();
      });
      await store.enqueueWithin(handle, [message({ lane: "bulk" })]);
      await commit();
      await again.promise;
      assert.deepEqual(calls, ["bulk", "bulk"]);
    });
  });

  describe("the store itself", () => {
    test("a second migration changes nothing", async (t) => {
      const { store } = await open(t);
      await store.enqueue([message()]);
      const { from, to: version } = await store.migrate();
      assert.equal(from, version);
      await store.checkVersion();
      assert.equal((await claim(store)).deliveries.length, 1);
    });

    test("acknowledged writes are found after the store is reopened", async (t) => {
      const { store, another } = await open(t);
      const lease = await leased(store);
      await store.complete([sent(lease)]);
      await store.close();
      const reopened = await another();
      assert.equal((await reopened.get(lease.id))?.deliveries[0]?.state, "done");
    });

    test("close waits for pending calls and refuses later ones", async (t) => {
      const { store } = await open(t);
      const given = message();
      const storing = store.enqueue([given]);
      await Promise.all([store.close(), store.close()]);
      assert.equal((await storing)[0]?.kind, "stored");
      await assert.rejects(store.get(given.id), { code: "ERR_OUTBOX_CLOSED" });
      await assert.rejects(store.enqueue([message()]), { code: "ERR_OUTBOX_CLOSED" });
    });
  });
}
