import assert from "node:assert/strict";
import { test } from "node:test";
import { type MailOptions, type MessageContent, newMessage } from "./new-message.ts";

const content: MessageContent = {
  id: "01987654-3210-7000-8000-000000000001",
  reversePath: "me@example.org",
  recipients: [
    { address: "a@one.example", kind: "to" },
    { address: "b@two.example", kind: "cc" },
    { address: "c@one.example", kind: "bcc" },
  ],
  bytes: new Uint8Array(100),
  messageIdHeader: "<1@example.org>",
  subject: "x".repeat(300),
  contentSha256: new Uint8Array(32),
};

const settings = {
  routeOf: (recipient: string) => recipient.slice(recipient.indexOf("@") + 1),
  expireAfterMs: 1000,
  doubt: "hold",
  idempotencyKeepMs: 2000,
  maxMessageBytes: 100,
  maxRecipients: 3,
} as const;

const made = (options: MailOptions = {}, changes: Partial<MessageContent> = {}) =>
  newMessage({ ...content, ...changes }, options, settings);

test("a message has one delivery per route, and the outbox's doubt and expiry", () => {
  const { deliveries, subject, doubt, lane, expireAfterMs, idempotency } = made();
  assert.deepEqual(
    deliveries.map(({ route, recipients }) => [route, recipients.map(({ address }) => address)]),
    [
      ["one.example", ["a@one.example", "c@one.example"]],
      ["two.example", ["b@two.example"]],
    ],
  );
  assert.equal(subject?.length, 200);
  assert.deepEqual([doubt, lane, expireAfterMs], ["hold", "normal", 1000]);
  assert.equal(idempotency, undefined);
});

test("a mail's own doubt replaces the outbox's; its dates become milliseconds", () => {
  const message = made({
    sendAt: new Date(5000),
    expiresAt: new Date(6000),
    doubt: "resend",
    lane: "bulk",
    idempotencyKey: "k",
  });
  assert.deepEqual([message.sendAtMs, message.expiresAtMs], [5000, 6000]);
  assert.deepEqual([message.doubt, message.lane], ["resend", "bulk"]);
  const { contentSha256 } = content;
  const key = { scope: "enqueue", key: "k", contentSha256, keepMs: 2000 };
  assert.deepEqual(message.idempotency, key);
});

test("a mail beyond a limit and an invalid option are refused with the value received", () => {
  const refused: readonly [() => unknown, string, RegExp][] = [
    [() => made({}, { bytes: new Uint8Array(101) }), "ERR_OUTBOX_MAIL", /101 bytes.* 100 allowed/],
    [() => made({ doubt: "maybe" as never }), "ERR_OUTBOX_OPTION", /doubt .* got "maybe"/],
    [() => made({ template: 7 as never }), "ERR_OUTBOX_OPTION", /template .* got 7/],
    [() => made({ tags: { a: 1 as never } }), "ERR_OUTBOX_OPTION", /tags\.a .* got 1/],
    [() => made({ sendAt: new Date(Number.NaN) }), "ERR_OUTBOX_OPTION", /sendAt .* Invalid Date/],
    [() => made({ idempotencyKey: "" }), "ERR_OUTBOX_OPTION", /idempotencyKey .* got ""/],
  ];
  for (const [work, code, message] of refused) assert.throws(work, { code, message });
});
