/** The nodemailer transport, through which `sendMail` of an application enqueues in the outbox. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createTransport } from "nodemailer";
import PostalMime from "postal-mime";
import { type PostbagMailOptions, postbagTransport } from "../../src/outbox/index.ts";
import { claim, claimOne } from "./contract/support.ts";
import { freshOutbox } from "./support.ts";

const mail = {
  from: '"Shop" <shop@example.org>',
  to: "a@one.example",
  bcc: "boss@example.org",
  subject: "Your order",
  html: "<p>Thank you</p>",
  attachments: [{ filename: "bill.txt", content: "10 €" }],
};

test("sendMail resolves when the mail is stored, with nodemailer's usual fields", async (t) => {
  const { outbox, store } = await freshOutbox(t, { routeOf: () => "relay" });
  const transporter = createTransport(postbagTransport(outbox));
  const info = await transporter.sendMail(mail);
  assert.deepEqual(info.accepted, ["a@one.example", "boss@example.org"]);
  assert.deepEqual(info.rejected, []);
  assert.equal(info.response, `250 2.0.0 queued as ${info.id}`);
  const claimed = await claimOne(store);
  assert.equal(claimed.messageId, info.id);
  assert.equal(claimed.reversePath, "shop@example.org");
  const text = Buffer.from(claimed.bytes ?? []).toString();
  assert.ok(text.includes(`Message-ID: ${info.messageId}\r\n`));
  assert.doesNotMatch(text, /boss@/);
  assert.doesNotMatch(text, /(?<!\r)\n/);
  assert.equal((await outbox.get(info.id))?.subject, "Your order");
});

test("sendMail accepts the outbox's own options", async (t) => {
  const { outbox, store } = await freshOutbox(t);
  const transporter = createTransport(postbagTransport(outbox), { template: "order" } as object);
  const keyed: PostbagMailOptions = { ...mail, idempotencyKey: "k" };
  const first = await transporter.sendMail(keyed);
  const again = await transporter.sendMail(keyed);
  assert.deepEqual([again.id, again.messageId], [first.id, first.messageId]);
  await assert.rejects(transporter.sendMail({ ...keyed, subject: "else" }), {
    code: "ERR_OUTBOX_IDEMPOTENCY_CONFLICT",
  });
  assert.equal((await outbox.get(first.id))?.template, "order");
  assert.equal((await claim(store)).deliveries.length, 2);
});

test("sendMail rejects if the outbox refuses the mail", async (t) => {
  const { outbox } = await freshOutbox(t);
  const transporter = createTransport(postbagTransport(outbox));
  const { to: _, bcc: __, ...withoutRecipient } = mail;
  await assert.rejects(transporter.sendMail(withoutRecipient), { code: "ERR_OUTBOX_MAIL" });
});

test("custom header fields and attachments arrive unchanged, by either way in", async (t) => {
  const { outbox, store } = await freshOutbox(t, { routeOf: () => "relay" });
  const transporter = createTransport(postbagTransport(outbox));
  const content = Buffer.from([...Array(256).keys()]);
  const given = {
    ...{ from: "shop@example.org", to: "a@one.example", subject: "Your order", text: "Thank you" },
    headers: { "X-Order": "7", "List-Unsubscribe": "<https://example.org/u/7>" },
    attachments: [{ filename: "bill.bin", content }],
  };
  await transporter.sendMail(given);
  await outbox.enqueue(given);
  const { deliveries } = await claim(store);
  assert.equal(deliveries.length, 2);
  for (const { bytes } of deliveries) {
    const mail = await PostalMime.parse(bytes as Uint8Array);
    const fields = new Map(mail.headers.map(({ key, value }) => [key, value]));
    assert.equal(fields.get("x-order"), "7");
    assert.equal(fields.get("list-unsubscribe"), "<https://example.org/u/7>");
    assert.equal(mail.text?.trim(), "Thank you");
    const [attachment] = mail.attachments;
    assert.equal(attachment?.filename, "bill.bin");
    assert.deepEqual(Buffer.from(attachment?.content as ArrayBuffer), content);
  }
});
