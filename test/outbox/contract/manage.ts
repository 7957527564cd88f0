/** What people do: cancel, redrive, resolve a doubt, purge. */
import assert from "node:assert/strict";
import { test } from "node:test";
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

/** Found in doubt after a lost reply, which stands with the recipient. */
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

export function manageSuite(name: string, open: OpenStore): void {
  const cancelOf = async (store: OutboxStore, id: string) =>
    (await store.cancel(id, { notify: true })).map(({ answer }) => answer);

  test(`${name}: cancelled means that nothing is sent any more`, async (t) => {
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

  test(`${name}: too late and unknown are told apart`, async (t) => {
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

  test(`${name}: a doubt that is cancelled stays on record, and is none of a later cycle's`, async (t) => {
    const { store, advance } = await open(t);
    const vanished = await leased(store);
    await intend(store, vanished);
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

  /** What became of a delivery whose holder vanished after its intent was written. */
  const sinceThen: Record<string, (store: OutboxStore) => Promise<unknown>> = {
    "nobody has looked": async () => {},
    "it waits undecided": async (store) => {
      const { delivery, token } = await claimOne(store);
      await store.release([{ delivery, token, delayMs: hour }]);
    },
    "another has leased it": (store) => claimOne(store),
    "another has tried and must wait": async (store) => {
      await store.complete([deferred(await claimOne(store), hour, { closesDoubt: true })]);
    },
  };
  for (const [since, happens] of Object.entries(sinceThen)) {
    test(`${name}: while the dot of a vanished worker may come, cancelled is not said (${since})`, async (t) => {
      const { store, advance } = await open(t);
      const vanished = await leased(store);
      await intend(store, vanished);
      await advance(minute + 1);
      await happens(store);
      const { id } = vanished;
      assert.deepEqual(await cancelOf(store, id), ["unknown"]);
      assert.deepEqual(await cancelOf(store, id), ["unknown"], "asked again");
      assert.equal((await shown(store, id)).state, "cancelled");
      await advance(day);
      assert.equal((await claim(store)).deliveries.length, 0, "no further copy is begun");
      const [late] = await store.complete([sent(vanished)]);
      assert.deepEqual([late?.kind, (await shown(store, id)).state], ["lost", "done"]);
      const events = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.deepEqual(
        events.map(({ type }) => type),
        ["delivery.cancelled", "delivery.late"],
      );
    });
  }

  test(`${name}: who takes up a doubt that is cancelled is refused the dot`, async (t) => {
    const { store, advance } = await open(t);
    await intend(store, await leased(store));
    await advance(minute + 1);
    const next = await claimOne(store);
    assert.deepEqual(await cancelOf(store, next.id), ["unknown"]);
    assert.equal(await intend(store, next), false);
  });

  test(`${name}: a lease without intents that ran out is cancelled, and in doubt`, async (t) => {
    const { store, advance } = await open(t);
    await store.enqueue([message()]);
    const { id } = await claimOne(store, { intents: false });
    await advance(minute + 1);
    assert.deepEqual(await cancelOf(store, id), ["unknown"]);
    await advance(minute);
    assert.equal((await claim(store)).deliveries.length, 0);
  });

  test(`${name}: a doubt of which its own worker has told sends nothing more`, async (t) => {
    const { store } = await open(t);
    const lease = await leased(store);
    await intend(store, lease);
    const attempt = { worker: "w1", elapsedMs: 10, outcome: "in_doubt", spends: true, reply: busy };
    await store.complete([deferred(lease, hour, { attempt } as Partial<Completion>)]);
    assert.deepEqual(await cancelOf(store, lease.id), ["cancelled"]);
  });

  test(`${name}: a redrive leaves no attempt open that nobody answered for`, async (t) => {
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

  test(`${name}: a cancel by the message's id cancels each delivery that can be`, async (t) => {
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

  test(`${name}: unknown ids are answered by nothing`, async (t) => {
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

  test(`${name}: a redrive starts a cycle anew and goes on counting attempts`, async (t) => {
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

  test(`${name}: a redrive reaches those who were not reached, or all`, async (t) => {
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
      { id: lease.id, answer: "nobody" },
    ]);
    await store.redrive(lease.id, {
      recipients: "all",
      expireAfterMs: day,
      messageIdHeader: "<new@example.org>",
    });
    assert.deepEqual(await statuses(store, lease.id), ["pending", "pending"]);
    assert.equal((await claimOne(store)).messageIdHeader, "<new@example.org>");
  });

  test(`${name}: what is under way or in doubt is not redriven`, async (t) => {
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

  test(`${name}: a doubt is resolved as sent`, async (t) => {
    const { store, advance } = await open(t);
    const { id, messageId } = await held(store, advance);
    assert.deepEqual((await store.cancel(id, { notify: false }))[0]?.answer, "unknown");
    assert.equal(await store.resolveDoubt(id, "sent", { notify: true }), "resolved");
    const done = await shown(store, messageId);
    assert.equal(done.state, "done");
    assert.deepEqual(await statuses(store, messageId), ["delivered"]);
    assert.equal(done.recipients[0]?.reply, undefined, "what was answered said something else");
    const [attempt] = await store.attempts(id);
    assert.equal(attempt?.outcome, "in_doubt");
    assert.equal(await store.resolveDoubt(id, "sent", { notify: true }), "not_in_doubt");
    const events = await store.claimEvents({ limit: 10, leaseMs: minute });
    assert.deepEqual(
      events.map(({ type }) => type),
      ["delivery.done"],
    );
  });

  test(`${name}: a doubt is resolved by sending again, though it had expired`, async (t) => {
    const { store, advance } = await open(t);
    const { id } = await held(store, advance);
    await advance(6 * day);
    assert.equal(await store.resolveDoubt(id, "resend", { notify: true }), "resolved");
    const again = await claimOne(store);
    assert.equal(again.inDoubt, false);
    assert.equal(again.cycle, 1);
    assert.ok(again.expiresInMs > 0);
  });

  test(`${name}: what is sent again after a doubt goes on counting the attempts of its cycle`, async (t) => {
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

  const purge = { bytesAfterMs: 7 * day, rowsAfterMs: 30 * day, deadAfterMs: 90 * day };
  const all = { ...purge, eventsAfterMs: 30 * day, limit: 100 };

  test(`${name}: a purge takes bytes first, then rows, the dead last`, async (t) => {
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

  test(`${name}: a purge never takes what is undecided, nor a key before its time`, async (t) => {
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

  test(`${name}: a purge leaves a message until hooks have heard how it ended`, async (t) => {
    const { store } = await open(t);
    const told = await leased(store);
    const done = await leased(store);
    await store.complete([sent(told, { events: [] }), sent(done)]);
    const now = { bytesAfterMs: 0, rowsAfterMs: 0, deadAfterMs: 90 * day, eventsAfterMs: 0 };
    assert.equal((await store.purge({ ...now, limit: 10 })).messages, 1);
    assert.equal(await store.get(told.id), undefined);
    const [event] = await store.claimEvents({ limit: 10, leaseMs: minute });
    assert.ok(event);
    assert.deepEqual([event.deliveryId, event.messageId], [done.id, done.messageId]);
    assert.equal((await store.purge({ ...now, limit: 10 })).messages, 0, "it is being told");
    await store.acknowledgeEvents([event.seq]);
    assert.equal((await store.purge({ ...now, limit: 10 })).messages, 1);
  });

  test(`${name}: a purge goes no further than its limit`, async (t) => {
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
}
