import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import parseAddresses from "nodemailer/lib/addressparser";
import { type ComposedMail, compose, type MailContent, readAddresses } from "./compose.ts";
import { editHeader, type HeaderField, headerFields } from "./message-bytes.ts";

const identity = { id: "id-1", date: new Date("2026-01-02T03:04:05Z") };
const textOf = ({ bytes }: ComposedMail) => Buffer.from(bytes).toString();
const make = (content: MailContent) => compose(content, identity);

const fields = {
  from: "Ann <ann@example.org>",
  to: ["Bob <bob@example.com>", "carol@example.net"],
  cc: "dan@example.com",
  bcc: "eve@example.com",
  subject: "Grüße",
  text: "Hällo\nworld",
};

test("fields become bytes with Message-ID, Date and CRLF line endings", async () => {
  const mail = await make(fields);
  const text = textOf(mail);
  assert.equal(mail.messageIdHeader, "<id-1@example.org>");
  assert.match(text, /^Message-ID: <id-1@example\.org>\r$/m);
  assert.match(text, /^Date: Fri, 02 Jan 2026 03:04:05 \+0000\r$/m);
  assert.equal(mail.subject, "Grüße");
  assert.doesNotMatch(text, /(?<!\r)\n|\r(?!\n)/);
});

test("Bcc is in the envelope and nowhere in the bytes", async () => {
  const raw = "From: a@x.example\nTo: b@x.example\nBcc: eve@example.com,\n fay@example.com\n\nhi\n";
  for (const content of [fields, { raw }]) {
    const mail = await make(content);
    const hidden = mail.recipients.filter(({ kind }) => kind === "bcc");
    assert.ok(hidden.some(({ address }) => address === "eve@example.com"));
    assert.doesNotMatch(textOf(mail), /bcc|eve@|fay@/i);
  }
});

test("each recipient is listed once, by its first field, in A-label form", async () => {
  const mail = await make({
    ...fields,
    to: "Team: bob@example.com, Zoë@MÜNCHEN.example;",
    cc: "bob@example.com",
    bcc: [],
  });
  assert.deepEqual(mail.recipients, [
    { address: "bob@example.com", kind: "to" },
    { address: "Zoë@xn--mnchen-3ya.example", kind: "to" },
  ]);
});

test("an explicit envelope decides; recipients only in it count as Bcc", async () => {
  const envelope = { from: "", to: ["bob@example.com", "archive@example.org"] };
  const mail = await make({ ...fields, envelope });
  assert.equal(mail.reversePath, "");
  assert.deepEqual(mail.recipients, [
    { address: "bob@example.com", kind: "to" },
    { address: "archive@example.org", kind: "bcc" },
  ]);
  assert.equal(mail.messageIdHeader, "<id-1@example.org>");
});

test("a ready-made message gets only a missing Message-ID or Date", async () => {
  const raw = "From: a@x.example\r\nTo: b@x.example\r\nMessage-ID: <own@x>\r\n\r\nbody\r\n";
  const mail = await make({ raw });
  assert.equal(mail.messageIdHeader, "<own@x>");
  assert.equal(textOf(mail), `Date: Fri, 02 Jan 2026 03:04:05 +0000\r\n${raw}`);
  const whole = `Date: x\r\n${raw}`;
  assert.equal(textOf(await make({ raw: whole })), whole);
});

test("raw text without a header is a body", async () => {
  const envelope = { from: "a@x.example", to: "b@x.example" };
  const mail = await make({ raw: "just words, no header\n", envelope });
  assert.match(
    textOf(mail),
    /^Message-ID: [^\r]+\r\nDate: [^\r]+\r\n\r\njust words, no header\r\n$/,
  );
  const bare = await make({ raw: "\r\nbody\r\n", envelope });
  assert.match(textOf(bare), /^Message-ID: [^\r]+\r\nDate: [^\r]+\r\n\r\nbody\r\n$/);
});

test("a mail without sender or valid recipient is refused with the reason", async () => {
  const wrong: readonly [MailContent, RegExp][] = [
    [{ to: "b@x.example", text: "x" }, /no sender/],
    [{ from: "a@x.example", text: "x" }, /no recipient/],
    [{ ...fields, envelope: { from: "a@x.example", to: [] } }, /no recipient/],
    [{ ...fields, envelope: { from: "a@x.example", to: "b" } }, /"b" is not an address/],
    [{ ...fields, envelope: { from: "a@x.example", to: "b@x.example\r\nRCPT" } }, /not an address/],
    [{ ...fields, envelope: { from: "a>@x.example", to: "b@x.example" } }, /not an address/],
  ];
  for (const [content, message] of wrong) {
    await assert.rejects(make(content), { code: "ERR_OUTBOX_MAIL", message });
  }
});

test("files are not read unless the mail allows it", async () => {
  const attachments = [{ path: import.meta.filename }];
  await assert.rejects(make({ ...fields, attachments }), { code: "ERR_OUTBOX_MAIL" });
  const allowed = await make({ ...fields, attachments, disableFileAccess: false });
  assert.match(textOf(allowed), /compose\.test\.ts/);
});

test("readAddresses finds the addresses that nodemailer's parser finds", () => {
  const piece = fc.constantFrom(
    "ann",
    "x.example",
    "Bob 2",
    "@",
    "<",
    ">",
    " ",
    ".",
    "-",
    "_",
    "+",
    ",",
    "ü",
  );
  const field = fc.oneof(
    fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join("")),
    fc.stringMatching(/^(?:[\w ]+<[\w.+-]+@[\w.-]+>|[\w.+-]+@[\w.-]+)$/),
  );
  const addresses = (parsed: ReturnType<typeof readAddresses>) =>
    parsed.map(({ address }) => address);
  fc.assert(
    fc.property(field, (text) => {
      const value = Buffer.from(text.trim()).toString("latin1");
      assert.deepEqual(addresses(readAddresses(value)), addresses(parseAddresses(text.trim())));
    }),
    { numRuns: 2_000 },
  );
});

test("header fields are unfolded, and only fields of the header are removed", () => {
  const bytes = Buffer.from("A: 1\r\nBCC: x,\r\n\ty\r\nB:2\r\n\r\nBcc: not a field\r\n");
  const fields = headerFields(bytes);
  assert.deepEqual(
    fields.map(({ name, value }) => [name, value]),
    [
      ["a", "1"],
      ["bcc", "x,\ty"],
      ["b", "2"],
    ],
  );
  const edited = Buffer.from(editHeader(bytes, { without: [fields[1] as HeaderField] })).toString();
  assert.equal(edited, "A: 1\r\nB:2\r\n\r\nBcc: not a field\r\n");
});
