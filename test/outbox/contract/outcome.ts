/**
 * Outcomes: a completion is written whole, under a valid lease. Without one only success is
 * recorded.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ClaimedDelivery, Completion } from "../../../src/outbox/index.ts";
import {
  busy,
  claim,
  claimOne,
  deferred,
  gone,
  intend,
  leased,
  message,
  minute,
  type OpenStore,
  ok,
  refusedForGood,
  sent,
  shown,
  statuses,
  to,
} from "./support.ts";

export function outcomeSuite(open: OpenStore): void {
  /** A lease that expired and was taken by another claim. */
  async function stolen(t: Parameters<OpenStore>[0], changes = {}, withIntent = true) {
    const under = await open(t);
    const stale = await leased(under.store, changes);
    if (withIntent) await intend(under.store, stale);
    await under.advance(minute + 1);
    const current: ClaimedDelivery = await claimOne(under.store);
    return { ...under, stale, current };
  }

  describe("completions", () => {
    test("a success ends the delivery with attempt, reply and recipients", async (t) => {
      const { store, advance } = await open(t);
      const lease = await leased(store);
      await intend(store, lease);
      assert.deepEqual(await store.complete([sent(lease)]), [{ kind: "settled", attemptNo: 1 }]);
      const delivery = await shown(store, lease.id);
      assert.equal(delivery.state, "done");
      assert.equal(delivery.cycleAttempts, 1);
      assert.equal(delivery.attempts, 1);
      assert.deepEqual(delivery.lastReply, ok);
      assert.equal(delivery.dueAtMs, undefined);
      assert.ok(delivery.finishedAtMs);
      assert.deepEqual(delivery.recipients[0]?.reply, ok);
      const [attempt] = await store.attempts(lease.id);
      assert.equal(attempt?.outcome, "delivered");
      assert.equal(attempt?.worker, "w1");
      assert.equal((attempt?.finishedAtMs ?? 0) - (attempt?.startedAtMs ?? 0), 10);
      await advance(24 * 60 * minute);
      assert.equal((await claim(store)).deliveries.length, 0);
      assert.equal(await store.nextDue("normal"), undefined);
    });

    test("a deferred delivery is due after its delay; attempts are numbered", async (t) => {
      const { store, advance } = await open(t);
      const lease = await leased(store);
      assert.deepEqual(await store.complete([deferred(lease, 5 * minute)]), [
        { kind: "settled", attemptNo: 1 },
      ]);
      assert.deepEqual(await statuses(store, lease.id), ["deferred"]);
      await advance(5 * minute - 1000);
      assert.equal((await claim(store)).deliveries.length, 0);
      await advance(1000);
      const again = await claimOne(store);
      assert.equal(again.cycleAttempts, 1);
      assert.equal(again.inDoubt, false);
      assert.deepEqual(again.recipients[0]?.reply, busy);
      assert.deepEqual(await store.complete([sent(again)]), [{ kind: "settled", attemptNo: 2 }]);
      const attempts = await store.attempts(lease.id);
      assert.deepEqual(
        attempts.map(({ attemptNo, cycleAttempt, outcome }) => [attemptNo, cycleAttempt, outcome]),
        [
          [1, 1, "deferred"],
          [2, 2, "delivered"],
        ],
      );
    });

    test("an attempt that spends nothing leaves the budget unchanged", async (t) => {
      const { store } = await open(t);
      const lease = await leased(store, {
        deliveries: [to("relay", "a@x.example", "b@x.example")],
      });
      const attempt = { worker: "w1", elapsedMs: 1, outcome: "partial", spends: false } as const;
      const recipients = [{ ordinal: 0, status: "delivered", reply: ok }] as const;
      await store.complete([{ ...deferred(lease, 0), attempt, recipients }]);
      assert.deepEqual(await statuses(store, lease.id), ["delivered", "pending"]);
      assert.equal((await claimOne(store)).cycleAttempts, 0);
      assert.equal((await store.attempts(lease.id)).length, 1);
    });

    test("each recipient has its own status; a decided one never changes", async (t) => {
      const { store } = await open(t);
      const addresses = ["a@x.example", "b@x.example", "c@x.example"];
      const lease = await leased(store, { deliveries: [to("relay", ...addresses)] });
      const first: Completion = {
        ...deferred(lease, 0),
        recipients: [
          { ordinal: 0, status: "delivered", reply: ok },
          { ordinal: 1, status: "failed", reply: gone },
          { ordinal: 2, status: "deferred", reply: busy },
        ],
      };
      await store.complete([first]);
      assert.deepEqual(await statuses(store, lease.id), ["delivered", "failed", "deferred"]);
      const again = await claimOne(store);
      assert.deepEqual(
        again.recipients.map(({ status }) => status),
        ["delivered", "failed", "deferred"],
      );
      await store.complete([deferred(again, 0)]);
      assert.deepEqual(await statuses(store, lease.id), ["delivered", "failed", "deferred"]);
    });

    test("a dead delivery has its reason and no undecided recipient", async (t) => {
      const { store } = await open(t);
      const lease = await leased(store);
      const { delivery, token } = lease;
      const next = { kind: "dead", reason: "expired: it was never tried" } as const;
      const [result] = await store.complete([
        { delivery, token, recipients: [], next, events: [] },
      ]);
      assert.deepEqual(result, { kind: "settled", attemptNo: undefined });
      const dead = await shown(store, lease.id);
      assert.equal(dead.state, "dead");
      assert.equal(dead.reason, "expired: it was never tried");
      assert.equal(dead.attempts, 0);
      assert.deepEqual(await statuses(store, lease.id), ["failed"]);
      assert.equal((await claim(store)).deliveries.length, 0);
    });

    test("each completion of a list gets its own answer", async (t) => {
      const { store } = await open(t);
      await store.enqueue(Array.from({ length: 30 }, () => message()));
      const { deliveries } = await claim(store);
      const completions = deliveries.map((lease, index) =>
        index % 3 === 0
          ? sent(lease)
          : index % 3 === 1
            ? deferred(lease, minute)
            : sent({ ...lease, token: lease.token + 1000 }, { recipients: [] }),
      );
      const kinds = (await store.complete(completions)).map(({ kind }) => kind);
      assert.deepEqual(
        kinds,
        deliveries.map((_, index) => (index % 3 === 2 ? "lost" : "settled")),
      );
      const states = await Promise.all(deliveries.map(({ id }) => shown(store, id)));
      assert.deepEqual(
        states.map(({ state, isLeased }) => [state, isLeased]),
        deliveries.map(
          (_, i) =>
            [
              ["done", undefined],
              ["pending", false],
              ["pending", true],
            ][i % 3],
        ),
      );
    });

    for (const withIntent of [true, false]) {
      test(`a repeated completion changes nothing, intent written: ${withIntent}`, async (t) => {
        const { store } = await open(t);
        const first = await leased(store);
        const again = await leased(store);
        for (const lease of withIntent ? [first, again] : []) await intend(store, lease);
        for (const completion of [sent(first), deferred(again, 0)]) {
          const answer = await store.complete([completion]);
          assert.deepEqual(answer, [{ kind: "settled", attemptNo: 1 }]);
          const attempts = await store.attempts(first.id);
          const before = [await store.get(first.id), await store.get(again.id)];
          assert.deepEqual(await store.complete([completion]), answer, "as the first time");
          assert.deepEqual([await store.get(first.id), await store.get(again.id)], before);
          assert.deepEqual(await store.attempts(first.id), attempts);
        }
        assert.equal((await store.claimEvents({ limit: 10, leaseMs: minute })).length, 1);
      });
    }

    test("a repeated completion leaves the next holder's lease valid", async (t) => {
      const { store } = await open(t);
      const lease = await leased(store);
      const failure = deferred(lease, 0);
      const answer = await store.complete([failure]);
      const next = await claimOne(store);
      assert.deepEqual(await store.complete([failure]), answer);
      assert.deepEqual(await store.complete([sent(next)]), [{ kind: "settled", attemptNo: 2 }]);
    });

    test("a different outcome under a completed lease is lost", async (t) => {
      const { store } = await open(t);
      const lease = await leased(store);
      await store.complete([sent(lease)]);
      assert.deepEqual(await store.complete([deferred(lease, 0)]), [
        { kind: "lost", finished: false },
      ]);
      assert.deepEqual(await store.complete([refusedForGood(lease)]), [
        { kind: "lost", finished: false },
      ]);
      assert.equal((await shown(store, lease.id)).state, "done");
    });
  });

  describe("outcomes of lost leases", () => {
    test("a late failure changes nothing", async (t) => {
      const { store, stale } = await stolen(t);
      const before = await store.get(stale.id);
      const attempts = await store.attempts(stale.id);
      const results = await store.complete([deferred(stale, 0), refusedForGood(stale)]);
      assert.deepEqual(results, [
        { kind: "lost", finished: false },
        { kind: "lost", finished: false },
      ]);
      assert.deepEqual(await store.get(stale.id), before);
      assert.deepEqual(await store.attempts(stale.id), attempts);
      assert.deepEqual(await store.claimEvents({ limit: 10, leaseMs: minute }), []);
    });

    for (const withIntent of [true, false]) {
      test(`a late success is recorded, intent written: ${withIntent}`, async (t) => {
        const { store, stale, current } = await stolen(t, {}, withIntent);
        assert.deepEqual(await store.complete([sent(stale)]), [
          { kind: "lost", attemptNo: 1, finished: true },
        ]);
        assert.equal((await shown(store, stale.id)).state, "done");
        assert.deepEqual(await statuses(store, stale.id), ["delivered"]);
        assert.equal(await intend(store, current), false, "the holder must not send it again");
        assert.deepEqual(await store.renew([current], minute), [false]);
        assert.deepEqual(await store.complete([deferred(current, 0)]), [
          { kind: "lost", finished: false },
        ]);
        assert.equal((await shown(store, stale.id)).state, "done");
        assert.equal((await store.attempts(stale.id)).length, 1);
        const events = await store.claimEvents({ limit: 10, leaseMs: minute });
        assert.deepEqual(
          events.map(({ type, data }) => [type, data]),
          [["delivery.done", { late: true }]],
        );
      });
    }

    test("a partial success under a lost lease leaves other recipients to the holder", async (t) => {
      const recipients = { deliveries: [to("relay", "a@x.example", "b@x.example")] };
      const { store, stale, current } = await stolen(t, recipients);
      const partial: Completion = {
        ...sent(stale),
        recipients: [
          { ordinal: 0, status: "delivered", reply: ok },
          { ordinal: 1, status: "failed", reply: gone },
        ],
      };
      assert.deepEqual(await store.complete([partial]), [
        { kind: "lost", attemptNo: 1, finished: false },
      ]);
      assert.deepEqual(await statuses(store, stale.id), ["delivered", "pending"]);
      const finish = sent(current, {
        recipients: [{ ordinal: 1, status: "delivered", reply: ok }],
      });
      assert.deepEqual(await store.complete([finish]), [{ kind: "settled", attemptNo: 2 }]);
      assert.equal((await shown(store, stale.id)).state, "done");
    });

    test("two holders that both deliver give two attempts and one end event", async (t) => {
      const { store, stale, current } = await stolen(t);
      assert.equal((await store.complete([sent(current)]))[0]?.kind, "settled");
      assert.equal((await store.complete([sent(stale)]))[0]?.kind, "lost");
      const attempts = await store.attempts(stale.id);
      assert.deepEqual(
        attempts.map(({ outcome }) => outcome),
        ["delivered", "delivered"],
      );
      const events = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.equal(events.length, 1);
    });

    test("a late success turns dead into done and writes delivery.late", async (t) => {
      const { store, stale, current } = await stolen(t);
      await store.complete([refusedForGood(current, { closesDoubt: true })]);
      assert.equal((await store.complete([sent(stale)]))[0]?.kind, "lost");
      assert.equal((await shown(store, stale.id)).state, "done");
      assert.deepEqual(await statuses(store, stale.id), ["delivered"]);
      const events = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.deepEqual(
        events.map(({ type }) => type),
        ["delivery.dead", "delivery.late"],
      );
    });

    for (const finished of [true, false]) {
      test(`a repeated late success gets the same answer, last recipient: ${finished}`, async (t) => {
        const { store, stale } = await stolen(t, {
          deliveries: [to("relay", "a@x.example", "b@x.example")],
        });
        const { recipients } = sent(stale);
        const late = sent(stale, { recipients: finished ? recipients : recipients.slice(1) });
        const answer = await store.complete([late]);
        assert.deepEqual(answer, [{ kind: "lost", attemptNo: 1, finished }]);
        const before = [await store.get(stale.id), await store.attempts(stale.id)];
        assert.deepEqual(await store.complete([late]), answer, "as the first time");
        assert.deepEqual([await store.get(stale.id), await store.attempts(stale.id)], before);
      });
    }
  });

  describe("doubts", () => {
    test("a resend of a delivery in doubt closes its open attempt as in doubt", async (t) => {
      const { store, stale, current } = await stolen(t);
      assert.equal(current.inDoubt, true);
      await store.complete([sent(current, { closesDoubt: true })]);
      const attempts = await store.attempts(stale.id);
      assert.deepEqual(
        attempts.map(({ attemptNo, outcome }) => [attemptNo, outcome]),
        [
          [1, "in_doubt"],
          [2, "delivered"],
        ],
      );
      assert.equal((await shown(store, stale.id)).cycleAttempts, 1);
    });

    test("a delivery held in doubt is not claimed, and a late success ends it", async (t) => {
      const { store, advance, stale, current } = await stolen(t, { doubt: "hold" });
      assert.equal(current.doubtPolicy, "hold");
      const { delivery, token } = current;
      const next = { kind: "in_doubt" } as const;
      const events = [{ type: "delivery.in_doubt", data: {}, notify: true }] as const;
      const closesDoubt = true;
      await store.complete([{ delivery, token, recipients: [], next, events, closesDoubt }]);
      const outcomeOf = async () => (await store.attempts(stale.id))[0]?.outcome;
      assert.equal(await outcomeOf(), "in_doubt");
      await advance(24 * 60 * minute);
      assert.equal((await claim(store)).deliveries.length, 0);
      const held = await shown(store, stale.id);
      assert.equal(held.state, "in_doubt");
      assert.equal(held.finishedAtMs, undefined);
      assert.deepEqual(
        held.recipients.map(({ status }) => status),
        ["pending"],
      );
      assert.equal((await store.complete([deferred(stale, 0)]))[0]?.kind, "lost");
      assert.equal((await shown(store, stale.id)).state, "in_doubt");
      await store.complete([sent(stale)]);
      assert.equal((await shown(store, stale.id)).state, "done");
      assert.equal(await outcomeOf(), "delivered");
    });
  });
}
