/** What is shown: lists, figures, the version, the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  claim,
  claimOne,
  deferred,
  hour,
  intend,
  leased,
  message,
  minute,
  type OpenStore,
  refusedForGood,
  sent,
  shown,
  to,
} from "./support.ts";

export function showSuite(name: string, open: OpenStore): void {
  test(`${name}: a list is newest first, and its pages meet without a gap`, async (t) => {
    const { store } = await open(t);
    const given = Array.from({ length: 7 }, () => message());
    for (const one of given) await store.enqueue([one]);
    const ids: string[] = [];
    let cursor: string | undefined;
    for (let pages = 1; ; pages += 1) {
      const page = await store.list({ limit: 3, ...(cursor === undefined ? {} : { cursor }) });
      ids.push(...page.deliveries.map(({ messageId }) => messageId));
      cursor = page.next;
      if (pages === 2) await store.enqueue([message()]); // Newer ones do not shift the pages.
      if (cursor === undefined) break;
    }
    assert.deepEqual(ids, given.map(({ id }) => id).reverse());
  });

  test(`${name}: a list is filtered by state, route, template and recipient`, async (t) => {
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

  test(`${name}: who answered stands with each attempt, and the last one with the delivery`, async (t) => {
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

  test(`${name}: a cursor that no page gave is refused`, async (t) => {
    const { store } = await open(t);
    for (const cursor of ["", "x", "1; drop table", "zzzzzzzzzzzzzzzzzzzz"]) {
      await assert.rejects(store.list({ limit: 1, cursor }), { code: "ERR_OUTBOX_OPTION" });
    }
  });

  test(`${name}: figures count what is queued, due and leased, and the age of the oldest`, async (t) => {
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
    const age = normal?.oldestDueMs ?? 0;
    assert.ok(age >= hour && age < hour + minute, `oldest due for ${age} ms`);
    assert.deepEqual([bulk?.queued, bulk?.due, bulk?.leased], [1, 1, 0]);
    assert.equal(lanes.length, 2);
    assert.deepEqual([dead, inDoubt, blockedRoutes], [0, 0, []]);
    await store.complete((await claim(store)).deliveries.map((lease) => refusedForGood(lease)));
    assert.equal((await store.stats()).dead, 1);
  });

  test(`${name}: whoever enqueues wakes who listens, and names the lanes, until it stops listening`, async (t) => {
    const { store } = await open(t);
    const told: (string | undefined)[] = [];
    const stop = store.onDue((lane) => told.push(lane));
    await store.enqueue([message(), message()]);
    assert.deepEqual(told.splice(0), ["normal"]);
    await store.enqueue([message({ lane: "bulk" }), message({ lane: "critical" })]);
    assert.deepEqual(told.splice(0), ["bulk", "critical"]);
    const { delivery, token } = await claimOne(store, { limit: 1 });
    await store.release([{ delivery, token, delayMs: 0, lane: "quarantine" }]);
    assert.deepEqual(told.splice(0), [undefined], "it may be any");
    stop();
    await store.enqueue([message()]);
    assert.deepEqual(told, []);
  });

  test(`${name}: mail in somebody's transaction wakes who listens, soon and then again`, async (t) => {
    const { store, transactions } = await open(t);
    const begin = Object.values(transactions)[0];
    assert.ok(begin);
    const { handle, commit } = await begin();
    const told: (string | undefined)[] = [];
    const again = Promise.withResolvers<void>();
    store.onDue((lane) => {
      if (told.push(lane) === 2) again.resolve();
    });
    await store.enqueueWithin(handle, [message({ lane: "bulk" })]);
    await commit();
    await again.promise;
    assert.deepEqual(told, ["bulk", "bulk"]);
  });

  test(`${name}: migrating twice changes nothing`, async (t) => {
    const { store } = await open(t);
    await store.enqueue([message()]);
    const { from, to: version } = await store.migrate();
    assert.equal(from, version);
    await store.checkVersion();
    assert.equal((await claim(store)).deliveries.length, 1);
  });

  test(`${name}: what was answered is there for who opens the store anew`, async (t) => {
    const { store, another } = await open(t);
    const lease = await leased(store);
    await store.complete([sent(lease)]);
    await store.close();
    const reopened = await another();
    assert.equal((await reopened.get(lease.id))?.deliveries[0]?.state, "done");
  });

  test(`${name}: closing waits for the calls under way and refuses later ones`, async (t) => {
    const { store } = await open(t);
    const given = message();
    const storing = store.enqueue([given]);
    await Promise.all([store.close(), store.close()]);
    assert.equal((await storing)[0]?.kind, "stored");
    await assert.rejects(store.get(given.id), { code: "ERR_OUTBOX_CLOSED" });
    await assert.rejects(store.enqueue([message()]), { code: "ERR_OUTBOX_CLOSED" });
  });
}
