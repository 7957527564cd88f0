/** Random input in random chunks: the server answers in SMTP and continues to serve. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressParts } from "../../src/mail/index.ts";
import { type Client, startTestServer } from "../support/mail-client.ts";

const word = fc.oneof(
  fc.constantFrom(
    "EHLO",
    "HELO",
    "LHLO",
    "MAIL FROM:",
    "RCPT TO:",
    "DATA",
    "RSET",
    "NOOP",
    "VRFY",
    "EXPN",
    "HELP",
    "<>",
    "<bob@example.com>",
    "<nobody@example.com>",
    "<a@[127.0.0.1]>",
    '<"a b"@example.com>',
    "<",
    ">",
    "SIZE=",
    "SIZE=99999999999999999999",
    "BODY=8BITMIME",
    "SMTPUTF8",
    "=",
    "client.example",
    ".",
    "..",
    ":",
    " ",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n.\r\n",
    "__proto__=x",
    "\xff",
    "\0",
  ),
  fc.string({ unit: "binary-ascii", maxLength: 20 }),
);
const session = fc.array(word, { maxLength: 60 }).map((words) => words.join(""));
const cuts = fc.array(fc.nat(200), { maxLength: 8 });

for (const protocol of ["smtp", "lmtp"] as const) {
  test(`${protocol}: no random input, in any chunks, stops the server`, {
    timeout: 60_000,
  }, async () => {
    await using running = await startTestServer({ protocol });
    const hello = protocol === "smtp" ? "EHLO c\r\n" : "LHLO c\r\n";
    await fc.assert(
      fc.asyncProperty(session, fc.boolean(), cuts, async (words, polite, places) => {
        const client = running.connect();
        const bytes = Buffer.from(polite ? hello + words : words, "latin1");
        await sendInPieces(client, bytes, places);
        for (const each of await client.rest()) assert.match(each, /^[2345]\d\d[ -]/);
      }),
      { numRuns: 250 },
    );
    assert.match(await running.connect().reply(), /^220 /);
    const errors = running.events.filter(
      (each) => each.kind === "error" && each.during !== "session",
    );
    assert.deepEqual(errors, []);
    assert.equal(running.server.stats().messages, 0);
    assert.equal(running.server.stats().memoryBytes, 0);
  });
}

const recipient = fc.constantFrom(
  "bob@example.com",
  "BOB@example.com",
  '"bob"@example.com',
  "alice@example.com",
  "full@example.com",
  "Full@example.com",
  "gone@example.com",
  "nobody@example.com",
  "who@elsewhere.example",
);

test("LMTP replies once to each accepted RCPT, in order, repeats included", {
  timeout: 60_000,
}, async () => {
  await using running = await startTestServer({ protocol: "lmtp" });
  const expected: Record<string, string> = { full: "452", gone: "550" };
  await fc.assert(
    fc.asyncProperty(fc.array(recipient, { minLength: 1, maxLength: 12 }), async (named) => {
      const client = running.connect();
      await client.reply();
      await client.command("LHLO c");
      await client.command("MAIL FROM:<>");
      const accepted: string[] = [];
      for (const each of named) {
        if ((await client.command(`RCPT TO:<${each}>`)).startsWith("250")) accepted.push(each);
      }
      const data = await client.command("DATA");
      assert.match(data, accepted.length > 0 ? /^354 / : /^503 /);
      if (accepted.length > 0) client.send("hi\r\n.\r\n");
      client.send("QUIT\r\n");
      const codes = (await client.rest()).map((line) => line.slice(0, 3));
      const names = accepted.map((each) => addressParts(each)?.localPart ?? "");
      assert.deepEqual(codes, [...names.map((name) => expected[name] ?? "250"), "221"]);
      const { envelope } = running.deliveries.pop() ?? {};
      assert.equal(envelope?.recipients.length ?? 0, new Set(names).size);
    }),
    { numRuns: 100 },
  );
});

const line = fc.constantFrom(
  "",
  ".",
  "..",
  "...",
  ". ",
  ".a",
  "a.",
  "a",
  "x".repeat(70),
  "\xff\x80",
);

test("a message arrives as it was sent, leading dots included, in any chunks", {
  timeout: 60_000,
}, async () => {
  await using running = await startTestServer();
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 12 }), cuts, async (lines, places) => {
      const client = running.connect();
      await client.begin("EHLO c", ["bob@example.com"]);
      const stuffed = lines.map((each) => `${each.startsWith(".") ? "." : ""}${each}\r\n`).join("");
      const bytes = Buffer.from(`X: y\r\n\r\n${stuffed}.\r\nQUIT\r\n`, "latin1");
      await sendInPieces(client, bytes, places);
      assert.deepEqual(
        (await client.rest()).map((each) => each.slice(0, 3)),
        ["250", "221"],
      );
      const { content = "" } = running.deliveries.pop() ?? {};
      const body = content.slice(content.indexOf("X: y\n\n") + "X: y\n\n".length);
      assert.equal(body, lines.map((each) => `${each}\n`).join(""));
    }),
    { numRuns: 150 },
  );
});

async function sendInPieces(
  client: Client,
  bytes: Buffer,
  places: readonly number[],
): Promise<void> {
  let from = 0;
  for (const place of [...places].sort((a, b) => a - b)) {
    client.send(bytes.subarray(from, place));
    from = Math.min(place, bytes.length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.send(bytes.subarray(from));
}
