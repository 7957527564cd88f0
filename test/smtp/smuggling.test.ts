/** Only CRLF.CRLF ends a message: no other sequence of CR, LF and dot makes two messages of one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startTestServer } from "../support/mail-client.ts";
import { forgedSender, smuggledMessage, smugglingCorpus } from "../support/smuggling.ts";

const recipient = "bob@example.com";

test("the corpus contains the false ends of known attacks", () => {
  const endings = smugglingCorpus.map(({ ending }) => ending);
  for (const known of [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\r\n\0.\r\n",
  ]) {
    assert.ok(endings.includes(known), JSON.stringify(known));
  }
  assert.ok(!endings.includes("\r\n.\r\n"));
});

for (const protocol of ["smtp", "lmtp"] as const) {
  for (const bareNewlines of ["reject", "normalise"] as const) {
    for (const cutting of ["in one piece", "byte by byte"] as const) {
      test(`${protocol}, ${bareNewlines}, ${cutting}: no false end makes a second message`, async () => {
        await using running = await startTestServer({ protocol, bareNewlines });
        for (const each of smugglingCorpus) {
          running.deliveries.length = 0;
          const client = running.connect();
          await client.begin(protocol === "smtp" ? "EHLO c" : "LHLO c", [recipient]);
          const bytes = Buffer.from(smuggledMessage(each, recipient), "latin1");
          if (cutting === "in one piece") client.send(bytes);
          else for (const byte of bytes) client.send(Uint8Array.of(byte));
          const replies = await client.rest();
          const hasBareNewline = /\r(?!\n)|(?<!\r)\n/.test(bytes.toString("latin1"));
          const isRefused = hasBareNewline && bareNewlines === "reject";
          assert.deepEqual(
            replies.map((line) => line.slice(0, 3)),
            isRefused ? ["550", "421"] : ["250"],
            `${each.name}: ${replies.join(" / ")}`,
          );
          assert.equal(running.deliveries.length, isRefused ? 0 : 1, each.name);
          for (const { envelope, content } of running.deliveries) {
            assert.notEqual(envelope.reversePath, forgedSender, each.name);
            assert.match(content, /MAIL FROM:<forged/, each.name);
          }
        }
      });
    }
  }
}
