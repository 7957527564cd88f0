/** Enqueue: whole messages, idempotency keys, and the application's own transaction. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { IdempotencyKey } from "../../../src/outbox/index.ts";
import { claim, claimOne, day, hour, message, minute, type OpenStore, to } from "./support.ts";

/** A key for content that one byte stands for. */
const key = (byte: number, changes: Partial<IdempotencyKey> = {}): IdempotencyKey => ({
  scope: "app",
  key: "order-1",
  contentSha256: new Uint8Array(32).fill(byte),
  keepMs: 7 * day,
  ...changes,
});

export function enqueueSuite(open: OpenStore): void {
  describe("messages", () => {
    test("an enqueued message is read back unchanged, byte for byte", async (t) => {
      const { store } = await open(t);
      const bytes = Buffer.from([...Array(256).keys()]);
      const given = message({
        bytes,
        reversePath: "",
        subject: "Grüße 🚂",
        template: "welcome",
        tags: { campaign: "spring" },
        deliveries: [
          {
            route: "example.com",
            recipients: [
              { address: "a@example.com", kind: "to" },
              { address: "b@example.com", kind: "bcc" },
            ],
          },
          to("example.net", "c@example.net"),
        ],
      });
      assert.deepEqual(await store.enqueue([given]), [{ kind: "stored", id: given.id }]);
      const found = await store.get(given.id);
      assert.ok(found);
      assert.equal(found.reversePath, "");
      assert.equal(found.subject, "Grüße 🚂");
      assert.equal(found.template, "welcome");
      assert.deepEqual(found.tags, { campaign: "spring" });
      assert.equal(found.messageIdHeader, given.messageIdHeader);
      assert.equal(found.size, 256);
      assert.equal(found.hasBytes, true);
      assert.equal(found.createdAtMs, await store.now());
      assert.deepEqual(
        found.deliveries.map(({ id, route, state, recipients }) => [
          id,
          route,
          state,
          recipients.map(({ address, kind, status }) => `${kind}:${address}:${status}`),
        ]),
        [
          [
            `${given.id}.1`,
            "example.com",
            "pending",
            ["to:a@example.com:pending", "bcc:b@example.com:pending"],
          ],
          [`${given.id}.2`, "example.net", "pending", ["to:c@example.net:pending"]],
        ],
      );
      const { deliveries } = await claim(store);
      assert.equal(deliveries.length, 2);
      for (const delivery of deliveries) {
        assert.deepEqual(Buffer.from(delivery.bytes as Uint8Array), bytes);
        assert.equal(delivery.messageId, given.id);
        assert.equal(delivery.reversePath, "");
        assert.equal(delivery.template, "welcome");
      }
    });

    test("concurrent enqueues each get their own answer", async (t) => {
      const { store } = await open(t);
      const given = Array.from({ length: 200 }, () => message());
      const answers = await Promise.all(given.map((one) => store.enqueue([one])));
      assert.deepEqual(
        answers.map(([answer]) => answer?.id),
        given.map(({ id }) => id),
      );
      const { deliveries } = await claim(store, { limit: 500 });
      assert.deepEqual(
        deliveries.map(({ messageId }) => messageId).sort(),
        given.map(({ id }) => id).sort(),
      );
      for (const { messageId, bytes } of deliveries) {
        const own = given.find(({ id }) => id === messageId);
        assert.deepEqual(Buffer.from(bytes as Uint8Array), own?.bytes);
      }
    });

    test("an empty list gets an empty answer", async (t) => {
      const { store } = await open(t);
      assert.deepEqual(await store.enqueue([]), []);
      assert.deepEqual(await store.complete([]), []);
      assert.deepEqual(await store.renew([], 1000), []);
      assert.deepEqual(await store.intend([]), []);
      assert.deepEqual(await store.release([]), []);
    });

    test("a message that cannot be stored fails alone among concurrent ones", async (t) => {
      const { store } = await open(t);
      const first = message();
      await store.enqueue([first]);
      const results = await Promise.allSettled([
        store.enqueue([message()]),
        store.enqueue([{ ...message(), id: first.id }]), // Its id is taken.
        store.enqueue([message()]),
      ]);
      assert.deepEqual(
        results.map(({ status }) => status),
        ["fulfilled", "rejected", "fulfilled"],
      );
      const refused = results[1] as PromiseRejectedResult;
      assert.equal(refused.reason.code, "ERR_OUTBOX_STORE");
      assert.ok(refused.reason.cause instanceof Error);
      assert.equal((await claim(store)).deliveries.length, 3);
    });

    test("a message that fails halfway leaves no rows", async (t) => {
      const { store } = await open(t);
      const missing = { address: undefined as unknown as string, kind: "to" } as const;
      const broken = message({
        deliveries: [to("a", "a@a.example"), { route: "b", recipients: [missing] }],
      });
      await assert.rejects(store.enqueue([broken]), { code: "ERR_OUTBOX_STORE" });
      assert.equal(await store.get(broken.id), undefined);
      assert.deepEqual((await claim(store)).deliveries, []);
      assert.deepEqual(await store.enqueue([message({ id: broken.id })]), [
        { kind: "stored", id: broken.id },
      ]);
    });

    test("scheduled mail becomes due at its time and not before", async (t) => {
      const { store, advance } = await open(t);
      const now = await store.now();
      const later = message({ sendAtMs: now + hour });
      await store.enqueue([later]);
      assert.equal((await claim(store)).deliveries.length, 0);
      assert.equal(await store.nextDue("normal"), hour);
      await advance(hour - 1);
      assert.equal((await claim(store)).deliveries.length, 0);
      await advance(1);
      assert.equal(await store.nextDue("normal"), 0);
      const claimed = await claimOne(store);
      assert.equal(claimed.messageId, later.id);
      assert.equal(claimed.expiresInMs, 5 * day, "age counts from the due time");
    });

    test("mail scheduled in the past is due at once", async (t) => {
      const { store } = await open(t);
      const now = await store.now();
      await store.enqueue([message({ sendAtMs: now - day, expiresAtMs: now + minute })]);
      const { expiresInMs, lateMs } = await claimOne(store);
      assert.deepEqual([expiresInMs, lateMs], [minute, 0]);
    });

    test("a claim takes deliveries of its own lane only", async (t) => {
      const { store } = await open(t);
      await store.enqueue([message({ lane: "bulk" })]);
      assert.equal((await claim(store)).deliveries.length, 0);
      assert.equal(await store.nextDue("normal"), undefined);
      assert.equal((await claimOne(store, { lane: "bulk" })).lane, "bulk");
    });
  });

  describe("idempotency keys", () => {
    test("a known key with the same content returns the first message", async (t) => {
      const { store } = await open(t);
      const first = message({ idempotency: key(1) });
      const [stored] = await store.enqueue([first]);
      const [again] = await store.enqueue([message({ idempotency: key(1) })]);
      assert.deepEqual(stored, { kind: "stored", id: first.id });
      assert.deepEqual(again, { kind: "duplicate", id: first.id });
      const [other] = await store.enqueue([message({ idempotency: key(1, { scope: "else" }) })]);
      assert.equal(other?.kind, "stored");
      assert.equal((await claim(store)).deliveries.length, 2);
    });

    test("a known key with other content is a conflict and stores nothing", async (t) => {
      const { store } = await open(t);
      const first = message({ idempotency: key(1) });
      const second = message({ idempotency: key(2) });
      await store.enqueue([first]);
      assert.deepEqual(await store.enqueue([second]), [{ kind: "conflict", id: first.id }]);
      assert.equal(await store.get(second.id), undefined);
    });

    test("of concurrent enqueues with one key exactly one is stored", async (t) => {
      const { store, another } = await open(t);
      const stores = [store, await another()];
      const same = Array.from({ length: 20 }, () => message({ idempotency: key(1) }));
      const answers = await Promise.all(
        same.map(
          async (one, index) => (await (stores[index % 2] as typeof store).enqueue([one]))[0],
        ),
      );
      assert.equal(answers.filter((answer) => answer?.kind === "stored").length, 1);
      assert.equal(answers.filter((answer) => answer?.kind === "duplicate").length, 19);
      assert.equal(new Set(answers.map((answer) => answer?.id)).size, 1);
      assert.equal((await claim(store)).deliveries.length, 1);
    });

    test("one call with the same key twice stores one message", async (t) => {
      const { store } = await open(t);
      const [a, b, c] = [1, 1, 2].map((byte) => message({ idempotency: key(byte) }));
      assert.ok(a && b && c);
      assert.deepEqual(await store.enqueue([a, b, c]), [
        { kind: "stored", id: a.id },
        { kind: "duplicate", id: a.id },
        { kind: "conflict", id: a.id },
      ]);
    });

    test("a key is forgotten after its retention time", async (t) => {
      const { store, advance } = await open(t);
      await store.enqueue([message({ idempotency: key(1) })]);
      await advance(7 * day + 1);
      const second = message({ idempotency: key(2) });
      assert.deepEqual(await store.enqueue([second]), [{ kind: "stored", id: second.id }]);
      const [third] = await store.enqueue([message({ idempotency: key(2) })]);
      assert.deepEqual(third, { kind: "duplicate", id: second.id });
    });
  });

  describe("the caller's transaction", () => {
    test("a message is stored if and when the caller's transaction commits", async (t) => {
      const { store, transactions } = await open(t);
      for (const [handle, begin] of Object.entries(transactions)) {
        await t.test(`through ${handle}`, async () => {
          const undone = message({ idempotency: key(1, { scope: handle }) });
          const rolledBack = await begin();
          const [answer] = await store.enqueueWithin(rolledBack.handle, [undone]);
          assert.deepEqual(answer, { kind: "stored", id: undone.id });
          await rolledBack.rollback();
          assert.equal(await store.get(undone.id), undefined);
          assert.equal((await claim(store)).deliveries.length, 0);

          const given = message({
            idempotency: key(2, { scope: handle }),
            bytes: Buffer.from([0, 255, 10]),
          });
          const committed = await begin();
          assert.equal((await store.enqueueWithin(committed.handle, [given]))[0]?.kind, "stored");
          const repeated = message({ idempotency: key(2, { scope: handle }) });
          const [duplicate] = await store.enqueueWithin(committed.handle, [repeated]);
          assert.deepEqual(duplicate, { kind: "duplicate", id: given.id });
          assert.equal(await store.get(given.id), undefined, "not visible before the commit");
          await committed.commit();
          const claimed = await claimOne(store);
          assert.equal(claimed.messageId, given.id);
          assert.deepEqual(Buffer.from(claimed.bytes as Uint8Array), Buffer.from([0, 255, 10]));
        });
      }
    });

    test("a transaction handle of an unknown kind is refused", async (t) => {
      const { store } = await open(t);
      await assert.rejects(store.enqueueWithin({} as never, [message()]), {
        code: "ERR_OUTBOX_TRANSACTION",
      });
    });
  });
}
