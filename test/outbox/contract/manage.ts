/** Calls of operators: cancel, redrive, resolve a doubt, purge. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Completion, OutboxStore } from "../../../src/outbox/index.ts";
import {
  busy,
  claim,
  claimOne,
  day,
  deferred,
  gone,
  hour,
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

const undelivered = { recipients: "undelivered", expireAfterMs: 5 * day } as const;

/** A delivery held in doubt after a lost reply; the recipient has that reply. */
async function held(store: OutboxStore, advance: (ms: number) => Promise<void> | void) {
  const stale = await leased(store, { doubt: "hold" });
  await intend(store, stale);
  await advance(minute + 1);
  const { delivery, token } = await claimOne(store);
  const next = { kind: "in_doubt" } as const;
  const recipients = [{ ordinal: 0, status: "deferred", reply: busy }] as const;
  await store.complete([{ delivery, token, recipients, next, events: [] }]);
  return stale;
}

export function manageSuite(open: OpenStore): void {
  describe("cancel", () => {
    const cancelOf = async (store: OutboxStore, id: string) =>
      (await store.cancel(id, { notify: true })).map(({ answer }) => answer);

    test("a cancelled delivery is never sent", async (t) => {
      const { store, advance } = await open(t);
      const waiting = message({ sendAtMs: (await store.now()) + hour });
      await store.enqueue([waiting]);
      const inFlight = await leased(store);
      assert.deepEqual(await cancelOf(store, waiting.id), ["cancelled"]);
      assert.deepEqual(await cancelOf(store, inFlight.id), ["cancelled"]);
      assert.equal(await intend(store, inFlight), false);
      await advance(day);
      assert.equal((await claim(store)).deliveries.length, 0);
      const cancelled = await shown(store, waiting.id);
      assert.equal(cancelled.state, "cancelled");
      assert.ok(cancelled.finishedAtMs);
      assert.deepEqual(await cancelOf(store, waiting.id), ["cancelled"]);
      const events = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.deepEqual(
        events.map(({ type }) => type),
        ["delivery.cancelled", "delivery.cancelled"],
      );
    });

    test("cancel answers too_late after an end, unknown while a dot may come", async (t) => {
      const { store } = await open(t);
      const done = await leased(store);
      await store.complete([sent(done)]);
      const dead = await leased(store);
      await store.complete([refusedForGood(dead)]);
      const sending = await leased(store);
      await intend(store, sending);
      await store.enqueue([message()]);
      const blind = await claimOne(store, { intents: false });
      assert.deepEqual(await cancelOf(store, done.id), ["too_late"]);
      assert.deepEqual(await cancelOf(store, dead.id), ["too_late"]);
      assert.deepEqual(await cancelOf(store, sending.id), ["unknown"]);
      assert.deepEqual(await cancelOf(store, blind.id), ["unknown"]);
      assert.equal((await store.complete([sent(sending)]))[0]?.kind, "settled");
      assert.equal((await store.attempts(done.id)).length, 1);
    });

    test("a cancelled doubt stays in the history and out of the next cycle", async (t) => {
      const { store, advance } = await open(t);
      const crashed = await leased(store);
      await intend(store, crashed);
      await advance(minute + 1);
      const { id, delivery, token, inDoubt } = await claimOne(store);
      assert.equal(inDoubt, true);
      await store.release([{ delivery, token, delayMs: hour }]);
      assert.deepEqual(await cancelOf(store, id), ["unknown"]);
      assert.equal((await shown(store, id)).state, "cancelled");
      const [attempt] = await store.attempts(id);
      assert.equal(attempt?.outcome, "in_doubt");
      await store.redrive(id, undelivered);
      await claimOne(store);
      await advance(minute + 1);
      const { crashes, inDoubt: again } = await claimOne(store);
      assert.deepEqual([crashes, again], [1, false]);
    });

    /** States of a delivery whose first holder crashed after its intent. */
    const sinceThen: Record<string, (store: OutboxStore) => Promise<unknown>> = {
      "not claimed since": async () => {},
      "released undecided": async (store) => {
        const { delivery, token } = await claimOne(store);
        await store.release([{ delivery, token, delayMs: hour }]);
      },
      "leased again": (store) => claimOne(store),
      "tried again": async (store) => {
        await store.complete([deferred(await claimOne(store), hour, { closesDoubt: true })]);
      },
    };

    for (const [since, happens] of Object.entries(sinceThen)) {
      test(`cancel answers unknown while a crashed worker may send (${since})`, async (t) => {
        const { store, advance } = await open(t);
        const crashed = await leased(store);
        await intend(store, crashed);
        await advance(minute + 1);
        await happens(store);
        const { id } = crashed;
        assert.deepEqual(await cancelOf(store, id), ["unknown"]);
        assert.deepEqual(await cancelOf(store, id), ["unknown"], "on the second call");
        assert.equal((await shown(store, id)).state, "cancelled");
        await advance(day);
        assert.equal((await claim(store)).deliveries.length, 0, "no further attempt is made");
        const [late] = await store.complete([sent(crashed)]);
        assert.deepEqual([late?.kind, (await shown(store, id)).state], ["lost", "done"]);
        const events = await store.claimEvents({ limit: 10, leaseMs: minute });
        assert.deepEqual(
          events.map(({ type }) => type),
          ["delivery.cancelled", "delivery.late"],
        );
      });
    }

    test("the holder of a cancelled doubt is refused its intent", async (t) => {
      const { store, advance } = await open(t);
      await intend(store, await leased(store));
      await advance(minute + 1);
      const next = await claimOne(store);
      assert.deepEqual(await cancelOf(store, next.id), ["unknown"]);
      assert.equal(await intend(store, next), false);
    });

    test("cancel answers unknown for an expired lease without intents", async (t) => {
      const { store, advance } = await open(t);
      await store.enqueue([message()]);
      const { id } = await claimOne(store, { intents: false });
      await advance(minute + 1);
      assert.deepEqual(await cancelOf(store, id), ["unknown"]);
      await advance(minute);
      assert.equal((await claim(store)).deliveries.length, 0);
    });

    test("cancel answers cancelled for a doubt that its own worker reported", async (t) => {
      const { store } = await open(t);
      const lease = await leased(store);
      await intend(store, lease);
      const attempt = {
        worker: "w1",
        elapsedMs: 10,
        outcome: "in_doubt",
        spends: true,
        reply: busy,
      };
      await store.complete([deferred(lease, hour, { attempt } as Partial<Completion>)]);
      assert.deepEqual(await cancelOf(store, lease.id), ["cancelled"]);
    });

    test("cancel by message id cancels each delivery that can be cancelled", async (t) => {
      const { store } = await open(t);
      const given = message({ deliveries: [to("a", "a@a.example"), to("b", "b@b.example")] });
      await store.enqueue([given]);
      const first = await claimOne(store, { limit: 1 });
      await store.complete([sent(first)]);
      const answers = await store.cancel(given.id, { notify: false });
      assert.deepEqual(
        answers,
        [1, 2].map((ordinal) => ({
          id: `${given.id}.${ordinal}`,
          answer: `${given.id}.${ordinal}` === first.id ? "too_late" : "cancelled",
        })),
      );
    });
  });

  describe("redrive", () => {
    test("a redrive starts a new cycle and continues the attempt numbers", async (t) => {
      const { store, advance } = await open(t);
      const first = await leased(store);
      await store.complete([deferred(first, 0)]);
      await store.complete([refusedForGood(await claimOne(store), {})]);
      await advance(6 * day);
      assert.deepEqual(await store.redrive(first.messageId, undelivered), [
        { id: first.id, answer: "redriven" },
      ]);
      const again = await claimOne(store);
      assert.equal(again.cycle, 2);
      assert.equal(again.cycleAttempts, 0);
      assert.equal(again.crashes, 0);
      assert.ok(again.expiresInMs > 4 * day);
      assert.deepEqual(Buffer.from(again.bytes ?? []), Buffer.from(first.bytes ?? []));
      assert.equal(again.messageIdHeader, undefined);
      await store.complete([sent(again)]);
      const attempts = await store.attempts(first.id);
      assert.deepEqual(
        attempts.map(({ attemptNo, cycle, cycleAttempt }) => [attemptNo, cycle, cycleAttempt]),
        [
          [1, 1, 1],
          [2, 1, 2],
          [3, 2, 1],
        ],
      );
      assert.equal((await shown(store, first.id)).reason, undefined);
    });

    test("a redrive sends to the undelivered recipients, or to all", async (t) => {
      const { store } = await open(t);
      const deliveries = [to("relay", "a@x.example", "b@x.example")];
      const lease = await leased(store, { deliveries });
      const recipients = [
        { ordinal: 0, status: "delivered", reply: ok },
        { ordinal: 1, status: "failed", reply: gone },
      ] as const;
      await store.complete([refusedForGood(lease, { recipients })]);
      await store.redrive(lease.id, undelivered);
      assert.deepEqual(await statuses(store, lease.id), ["delivered", "pending"]);
      const second = await claimOne(store);
      await store.complete([sent(second)]);
      assert.deepEqual(await store.redrive(lease.id, undelivered), [
        { id: lease.id, answer: "delivered" },
      ]);
      await store.redrive(lease.id, {
        recipients: "all",
        expireAfterMs: day,
        messageIdHeader: "<new@example.org>",
      });
      assert.deepEqual(await statuses(store, lease.id), ["pending", "pending"]);
      assert.equal((await claimOne(store)).messageIdHeader, "<new@example.org>");
    });

    test("a delivery that is pending or in doubt is not redriven", async (t) => {
      const { store, advance } = await open(t);
      const doubtful = await held(store, advance);
      const waiting = await leased(store);
      const cancelled = message({ sendAtMs: (await store.now()) + hour });
      await store.enqueue([cancelled]);
      await store.cancel(cancelled.id, { notify: false });
      const answers = await Promise.all(
        [doubtful.id, waiting.id, cancelled.id].map((id) => store.redrive(id, undelivered)),
      );
      assert.deepEqual(
        answers.map(([one]) => one?.answer),
        ["in_doubt", "pending", "redriven"],
      );
    });

    test("a redrive closes attempts without an outcome as in doubt", async (t) => {
      const { store, advance } = await open(t);
      const first = await leased(store);
      await intend(store, first);
      await advance(minute + 1);
      const second = await claimOne(store);
      await intend(store, second);
      await store.complete([sent(first)]);
      await store.redrive(first.id, { ...undelivered, recipients: "all" });
      await claimOne(store);
      await advance(minute + 1);
      assert.equal((await claimOne(store)).inDoubt, false);
      assert.deepEqual(
        (await store.attempts(first.id)).map(({ outcome }) => outcome),
        ["delivered", "in_doubt"],
      );
    });
  });

  describe("the resolution of a doubt", () => {
    test("a doubt resolved as sent ends as done", async (t) => {
      const { store, advance } = await open(t);
      const { id, messageId } = await held(store, advance);
      assert.deepEqual((await store.cancel(id, { notify: false }))[0]?.answer, "unknown");
      assert.equal(await store.resolveDoubt(id, "sent", { notify: true }), "resolved");
      const done = await shown(store, messageId);
      assert.equal(done.state, "done");
      assert.deepEqual(await statuses(store, messageId), ["delivered"]);
      assert.equal(
        done.recipients[0]?.reply,
        undefined,
        "the recorded reply was not an acceptance",
      );
      const [attempt] = await store.attempts(id);
      assert.equal(attempt?.outcome, "in_doubt");
      assert.equal(await store.resolveDoubt(id, "sent", { notify: true }), "not_in_doubt");
      const events = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.deepEqual(
        events.map(({ type }) => type),
        ["delivery.done"],
      );
    });

    test("a doubt resolved as resend is due again even after its expiry", async (t) => {
      const { store, advance } = await open(t);
      const { id } = await held(store, advance);
      await advance(6 * day);
      assert.equal(await store.resolveDoubt(id, "resend", { notify: true }), "resolved");
      const again = await claimOne(store);
      assert.equal(again.inDoubt, false);
      assert.equal(again.cycle, 1);
      assert.ok(again.expiresInMs > 0);
    });

    test("a resend after a doubt continues the attempt count of its cycle", async (t) => {
      const { store } = await open(t);
      const lease = await leased(store, { doubt: "hold" });
      await store.complete([sent(lease, { recipients: [], next: { kind: "in_doubt" } })]);
      await store.resolveDoubt(lease.id, "resend", { notify: true });
      const again = await claimOne(store);
      assert.deepEqual([again.cycle, again.cycleAttempts], [1, 1]);
      await store.complete([sent(again)]);
      assert.deepEqual(
        (await store.attempts(lease.id)).map(({ cycle, cycleAttempt }) => [cycle, cycleAttempt]),
        [
          [1, 1],
          [1, 2],
        ],
      );
    });
  });

  describe("purge", () => {
    const purge = { bytesAfterMs: 7 * day, rowsAfterMs: 30 * day, deadAfterMs: 90 * day };

    const all = { ...purge, eventsAfterMs: 30 * day, limit: 100 };

    test("a purge removes bytes first, then rows, dead deliveries last", async (t) => {
      const { store, advance } = await open(t);
      const done = await leased(store);
      await store.complete([sent(done, { events: [] })]);
      const dead = await leased(store);
      await store.complete([refusedForGood(dead, { events: [] })]);
      assert.deepEqual(await store.purge(all), {
        bytes: 0,
        messages: 0,
        events: 0,
        idempotencyKeys: 0,
      });
      await advance(8 * day);
      assert.equal((await store.purge(all)).bytes, 2);
      assert.equal((await store.get(done.id))?.hasBytes, false);
      assert.equal(await store.body(done.message), undefined);
      assert.equal((await store.redrive(dead.id, undelivered))[0]?.answer, "purged");
      await advance(23 * day);
      assert.equal((await store.purge(all)).messages, 1);
      assert.equal(await store.get(done.id), undefined);
      assert.deepEqual(await store.attempts(done.id), []);
      assert.ok(await store.get(dead.id));
      await advance(60 * day);
      assert.equal((await store.purge(all)).messages, 1);
      assert.equal(await store.get(dead.id), undefined);
    });

    test("a purge never removes undecided deliveries, nor keys before their time", async (t) => {
      const { store, advance } = await open(t);
      const doubtful = await held(store, advance);
      const partly = message({ deliveries: [to("a", "a@a.example"), to("b", "b@b.example")] });
      const idempotency = {
        scope: "s",
        key: "k",
        contentSha256: new Uint8Array(32),
        keepMs: 400 * day,
      };
      const keyed = await leased(store, { idempotency });
      await store.complete([sent(keyed, { events: [] })]);
      await store.enqueue([partly]);
      await store.complete([sent(await claimOne(store, { limit: 1 }))]);
      await advance(200 * day);
      const purged = await store.purge(all);
      assert.deepEqual([purged.messages, purged.idempotencyKeys], [1, 0]);
      assert.ok(await store.get(partly.id));
      assert.ok(await store.get(doubtful.id));
      const [again] = await store.enqueue([message({ idempotency })]);
      assert.deepEqual(again, { kind: "duplicate", id: keyed.messageId });
      await advance(201 * day);
      assert.equal((await store.purge(all)).idempotencyKeys, 1);
    });

    test("a purge leaves a message until its events are acknowledged", async (t) => {
      const { store } = await open(t);
      const silent = await leased(store);
      const done = await leased(store);
      await store.complete([sent(silent, { events: [] }), sent(done)]);
      const now = { bytesAfterMs: 0, rowsAfterMs: 0, deadAfterMs: 90 * day, eventsAfterMs: 0 };
      assert.equal((await store.purge({ ...now, limit: 10 })).messages, 1);
      assert.equal(await store.get(silent.id), undefined);
      const [event] = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.ok(event);
      assert.deepEqual([event.deliveryId, event.messageId], [done.id, done.messageId]);
      assert.equal((await store.purge({ ...now, limit: 10 })).messages, 0, "its event is leased");
      await store.acknowledgeEvents([event.seq]);
      assert.equal((await store.purge({ ...now, limit: 10 })).messages, 1);
    });

    test("a purge removes no more rows than its limit", async (t) => {
      const { store, advance } = await open(t);
      await store.enqueue([message(), message(), message()]);
      const { deliveries } = await claim(store);
      await store.complete(deliveries.map((lease) => sent(lease, { events: [] })));
      await advance(40 * day);
      const counts = [];
      for (let round = 0; round < 3; round += 1) {
        counts.push((await store.purge({ ...all, limit: 2 })).messages);
      }
      assert.deepEqual(counts, [2, 1, 0]);
    });
  });

  describe("ids", () => {
    test("unknown ids get empty answers", async (t) => {
      const { store } = await open(t);
      const given = message();
      await store.enqueue([given]);
      for (const id of [message().id, `${given.id}.2`, `${given.id}.0`, "", "x", "' or 1=1"]) {
        assert.deepEqual(await store.cancel(id, { notify: false }), [], id);
        assert.deepEqual(await store.redrive(id, undelivered), [], id);
        assert.deepEqual(await store.attempts(id), [], id);
        assert.equal(await store.resolveDoubt(id, "sent", { notify: false }), "not_found", id);
      }
      assert.equal(await store.get("x"), undefined);
    });
  });
}
