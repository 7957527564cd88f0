/** Events: written with the outcome, leased until a process acknowledges them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { day, leased, minute, type OpenStore, refusedForGood, sent } from "./support.ts";

export function eventSuite(open: OpenStore): void {
  describe("events", () => {
    test("events are leased in order, with their delivery, until acknowledged", async (t) => {
      const { store, another, advance } = await open(t);
      const first = await leased(store);
      const data = { reason: "permanent: x", nested: { list: [1, "ä"] } };
      const dead = { type: "delivery.dead", data, notify: true } as const;
      await store.complete([refusedForGood(first, { events: [dead] })]);
      const second = await leased(store);
      await store.complete([sent(second)]);
      assert.equal((await store.stats()).eventsWaiting, 2);

      const other = await another();
      const events = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.deepEqual(await other.claimEvents({ limit: 10, leaseMs: minute }), []);
      assert.deepEqual(
        events.map(({ type, deliveryId, messageId, cycle, tries }) => [
          type,
          deliveryId,
          messageId,
          cycle,
          tries,
        ]),
        [
          ["delivery.dead", first.id, first.messageId, 1, 0],
          ["delivery.done", second.id, second.messageId, 1, 0],
        ],
      );
      assert.deepEqual(events[0]?.data, data);
      assert.ok((events[0]?.seq ?? 0) < (events[1]?.seq ?? 0));
      await store.acknowledgeEvents([events[0]?.seq as number]);
      await advance(minute + 1);
      const again = await other.claimEvents({ limit: 10, leaseMs: minute });
      assert.deepEqual(
        again.map(({ seq, tries }) => [seq, tries]),
        [[events[1]?.seq, 1]],
      );
      await other.acknowledgeEvents(again.map(({ seq }) => seq));
      await advance(minute + 1);
      assert.deepEqual(await store.claimEvents({ limit: 10, leaseMs: minute }), []);
      assert.equal((await store.stats()).eventsWaiting, 0);
    });

    test("a deferred event is due again after its delay", async (t) => {
      const { store, advance } = await open(t);
      await store.complete([sent(await leased(store))]);
      const [event] = await store.claimEvents({ limit: 1, leaseMs: minute });
      assert.ok(event);
      await store.deferEvents([event.seq], 5 * minute);
      await advance(2 * minute);
      assert.deepEqual(await store.claimEvents({ limit: 1, leaseMs: minute }), []);
      await advance(3 * minute);
      assert.equal((await store.claimEvents({ limit: 1, leaseMs: minute })).length, 1);
      await store.acknowledgeEvents([event.seq]);
      await store.deferEvents([event.seq], 0);
      assert.deepEqual(await store.claimEvents({ limit: 1, leaseMs: minute }), []);
    });

    test("an event without notify is history only, and is purged by age", async (t) => {
      const { store, advance } = await open(t);
      const quiet = { type: "delivery.done", data: {}, notify: false } as const;
      await store.complete([sent(await leased(store), { events: [quiet] })]);
      await store.complete([sent(await leased(store))]);
      const waiting = await store.claimEvents({ limit: 10, leaseMs: minute });
      assert.equal(waiting.length, 1);
      await advance(31 * day);
      const purge = { bytesAfterMs: 900 * day, rowsAfterMs: 900 * day, deadAfterMs: 90 * day };
      const eventsOf = async () =>
        (await store.purge({ ...purge, eventsAfterMs: 30 * day, limit: 10 })).events;
      assert.equal(await eventsOf(), 1, "an event that is not acknowledged stays");
      await advance(60 * day);
      assert.equal(await eventsOf(), 1, "but not for ever where no hook exists");
    });
  });
}
