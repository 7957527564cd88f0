/** The outbox as an application uses it, on SQLite. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { createOutbox, type Mail, type OutboxStore } from "../../src/outbox/index.ts";
import { claim, claimOne, deferred, refusedForGood, sent } from "./contract/support.ts";
import { freshOutbox } from "./support.ts";

const day = 24 * 60 * 60 * 1000;
const mail: Mail = {
  from: "shop@example.org",
  to: ["a@one.example", "b@ONE.example", "c@two.example"],
  subject: "Your order",
  text: "Thank you",
};

test("recipients of one route share a delivery; the default route is the domain", async (t) => {
  const { outbox, store } = await freshOutbox(t);
  const { id, duplicate, recipients } = await outbox.enqueue(mail);
  assert.equal(duplicate, false);
  assert.deepEqual(recipients, ["a@one.example", "b@one.example", "c@two.example"]);
  const byDomain = await outbox.get(id);
  assert.deepEqual(
    byDomain?.deliveries.map(({ route, recipients: those }) => [route, those.length]),
    [
      ["one.example", 2],
      ["two.example", 1],
    ],
  );
  const relayed = createOutbox({ store, routeOf: () => "relay" });
  const other = await outbox.get((await relayed.enqueue(mail)).id);
  assert.deepEqual(
    other?.deliveries.map(({ route }) => route),
    ["relay"],
  );
});

test("a mail with invalid tags or template is refused alone", async (t) => {
  const { outbox } = await freshOutbox(t);
  const tags = { campaign: (() => "spring") as never };
  const results = await Promise.allSettled([
    outbox.enqueue(mail),
    outbox.enqueue({ ...mail, tags }),
    outbox.enqueue({ ...mail, template: 7 as never }),
    outbox.enqueue({ ...mail, tags: { campaign: "spring" } }),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "rejected", "fulfilled"],
  );
  const refused = results.flatMap((result) => (result.status === "rejected" ? result.reason : []));
  assert.deepEqual(
    refused.map(({ code, message }) => [code, message]),
    [
      ["ERR_OUTBOX_OPTION", "tags.campaign must be a text; got [Function: campaign]."],
      ["ERR_OUTBOX_OPTION", "template must be a text; got 7."],
    ],
  );
});

test("every attempt sends the same bytes", async (t) => {
  const { outbox, store, clock } = await freshOutbox(t, { routeOf: () => "relay" });
  await outbox.enqueue({ ...mail, html: "<p>Thank you</p>" });
  const first = await claimOne(store);
  await store.complete([deferred(first, 1000)]);
  clock.advance(1000);
  const second = await claimOne(store);
  assert.deepEqual(second.bytes, first.bytes);
});

test("a repeated idempotency key returns the first mail, or conflicts for other mail", async (t) => {
  const { outbox, store, clock } = await freshOutbox(t);
  const keyed = {
    ...mail,
    idempotencyKey: "order-7",
    attachments: [{ content: Buffer.from("x") }],
  };
  const first = await outbox.enqueue(keyed);
  clock.advance(day); // A new Date and Message-ID, but the same request.
  const again = await outbox.enqueue(keyed);
  assert.deepEqual([again.id, again.duplicate], [first.id, true]);
  assert.equal(again.messageId, first.messageId, "the Message-ID of the mail that is sent");
  for (const other of [
    { ...keyed, subject: "Your other order" },
    { ...keyed, to: "a@one.example" },
    { ...keyed, attachments: [{ content: Buffer.from("y") }] },
    { ...keyed, tags: { a: "b" } },
  ]) {
    await assert.rejects(outbox.enqueue(other), {
      code: "ERR_OUTBOX_IDEMPOTENCY_CONFLICT",
      id: first.id,
    });
  }
  assert.equal((await claim(store)).deliveries.length, 2);
});

test("mail in the application's transaction is stored only if it commits", async (t) => {
  const { outbox, file } = await freshOutbox(t);
  using database = new DatabaseSync(file, { timeout: 5000 });
  database.exec("create table orders (id integer primary key)");
  for (const end of ["rollback", "commit"]) {
    database.exec("begin immediate; insert into orders default values");
    const { id } = await outbox.enqueue(mail, { tx: database });
    database.exec(end);
    assert.equal((await outbox.get(id)) !== undefined, end === "commit", end);
  }
});

test("cancel of a message returns the least certain answer of its deliveries", async (t) => {
  const { outbox, store } = await freshOutbox(t);
  const { id } = await outbox.enqueue(mail);
  const first = await claimOne(store, { limit: 1 });
  await store.complete([sent(first)]);
  assert.equal(await outbox.cancel(id), "too_late");
  const { id: later } = await outbox.enqueue({ ...mail, to: "z@z.example" });
  assert.equal(await outbox.cancel(`${later}.1`), "cancelled");
  await assert.rejects(outbox.cancel("nothing"), { code: "ERR_OUTBOX_NOT_FOUND", id: "nothing" });
});

test("a redrive keeps the Message-ID or makes a new one of the same domain", async (t) => {
  const { outbox, store } = await freshOutbox(t, { routeOf: () => "relay" });
  const { id, messageId } = await outbox.enqueue(mail);
  await store.complete([refusedForGood(await claimOne(store))]);
  await outbox.redrive(id);
  const same = await claimOne(store);
  assert.equal(same.messageIdHeader, undefined);
  await store.complete([refusedForGood(same)]);
  await outbox.redrive(id, { newMessageId: true });
  const other = (await claimOne(store)).messageIdHeader;
  assert.match(other ?? "", /^<[0-9a-f-]{36}@example\.org>$/);
  assert.notEqual(other, messageId);
});

test("purge repeats until nothing is left to remove", async (t) => {
  const { outbox, store, clock } = await freshOutbox(t, { routeOf: () => "relay" });
  await outbox.enqueueMany(Array.from({ length: 5 }, () => mail));
  const { deliveries } = await claim(store);
  await store.complete(deliveries.map((lease) => sent(lease, { events: [] })));
  clock.advance(31 * day);
  assert.equal((await outbox.purge({ limit: 2 })).messages, 5);
  assert.deepEqual((await outbox.list()).deliveries, []);
});

test("invalid options and mails are refused with the value received", async (t) => {
  const { outbox } = await freshOutbox(t, { maxMessageBytes: 2000, maxRecipients: 2 });
  const store = {} as OutboxStore;
  const wrong: readonly [object, RegExp][] = [
    [{ expireAfterMs: 0 }, /expireAfterMs .* got 0/],
    [{ maxRecipients: 5000 }, /maxRecipients .* got 5000/],
    [{ doubt: "maybe" }, /doubt .* got "maybe"/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(() => createOutbox({ store, ...options }), {
      code: "ERR_OUTBOX_OPTION",
      message,
    });
  }
  const bad: readonly [Partial<Mail>, string][] = [
    [{ text: "x".repeat(3000), to: "a@x.example" }, "ERR_OUTBOX_MAIL"],
    [{}, "ERR_OUTBOX_MAIL"], // Three recipients.
    [{ to: "a@x.example", sendAt: new Date(Number.NaN) }, "ERR_OUTBOX_OPTION"],
    [{ to: "a@x.example", idempotencyKey: "" }, "ERR_OUTBOX_OPTION"],
  ];
  for (const [changes, code] of bad) {
    await assert.rejects(outbox.enqueue({ ...mail, ...changes } as Mail), { code });
  }
  await assert.rejects(outbox.list({ limit: 0 }), { code: "ERR_OUTBOX_OPTION" });
});
