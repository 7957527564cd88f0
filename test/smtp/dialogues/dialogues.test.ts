/**
 * Plays the transcripts of this folder, each against a server of its own.
 *
 *     # a comment                        @ maxRecipients=2     an option or a limit of the server
 *     C: a line of the client, with CRLF; consecutive lines are sent in one piece
 *     C> bytes without CRLF, with \r \n \0 \\ and \xHH
 *     S: a line of the server; "…" at the end stands for any text
 *     S. the server has closed           D: <a@b> -> c@d, e@f  a message was delivered
 *     D| a line of the message, below    D. no message was delivered
 *        its Received field
 *
 * At the end the client closes, and nothing more may arrive.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { defaultLimits } from "../../../src/smtp/index.ts";
import { type Client, type Delivery, startTestServer } from "../../support/mail-client.ts";

const transcripts = readdirSync(import.meta.dirname).filter((name) => /\.(smtp|lmtp)$/.test(name));

for (const name of transcripts) {
  test(name, { timeout: 10_000 }, async () => {
    const lines = readFileSync(join(import.meta.dirname, name), "utf8")
      .trimEnd()
      .split("\n");
    await using running = await startTestServer({
      protocol: name.endsWith(".lmtp") ? "lmtp" : "smtp",
      ...optionsIn(lines),
    });
    const client = running.connect();
    let pending = "";
    let content = "";
    for (const [index, line] of lines.entries()) {
      const { kind, rest } = directive(line);
      const where = `${name}:${index + 1}`;
      if (kind === "C:") pending += `${unescaped(rest)}\r\n`;
      if (kind === "C>") pending += unescaped(rest);
      if (!kind.startsWith("C") && pending !== "") {
        client.send(Buffer.from(pending, "latin1"));
        pending = "";
      }
      if (kind === "S:" || kind === "S.")
        await expectLine(client, kind === "S." ? undefined : rest, where);
      if (kind === "D:") content = checkEnvelope(running.deliveries.shift(), rest, where);
      if (kind === "D|") content = checkBodyLine(content, rest, where);
      if (kind === "D.") assert.deepEqual(running.deliveries, [], where);
    }
    assert.deepEqual(await client.rest(), [], `${name}: nothing more may arrive`);
    assert.deepEqual(running.deliveries, [], `${name}: every message is in the transcript`);
  });
}

function directive(line: string): { kind: string; rest: string } {
  if (line === "" || line.startsWith("#") || line.startsWith("@")) return { kind: "", rest: "" };
  const [, kind = "", rest = ""] = /^(C:|C>|S:|S\.|D:|D\||D\.) ?(.*)$/.exec(line) ?? [];
  assert.notEqual(kind, "", `${JSON.stringify(line)} is no line of a transcript`);
  return { kind, rest };
}

function optionsIn(lines: readonly string[]) {
  const pairs = lines
    .filter((line) => line.startsWith("@"))
    .map((line) => line.slice(1).trim().split("="))
    .map(([key = "", value = ""]) => [key, /^\d+$/.test(value) ? Number(value) : value] as const);
  const limits = pairs.filter(([key]) => key in defaultLimits);
  const options = pairs.filter(([key]) => !(key in defaultLimits));
  return { ...Object.fromEntries(options), limits: Object.fromEntries(limits) };
}

function unescaped(text: string): string {
  const latin1 = Buffer.from(text).toString("latin1");
  return latin1.replace(/\\(?:x([0-9a-f]{2})|([rn0\\]))/g, (_, hex?: string, letter = "") =>
    hex
      ? String.fromCharCode(Number.parseInt(hex, 16))
      : ({ r: "\r", n: "\n", "0": "\0" }[letter as string] ?? "\\"),
  );
}

async function expectLine(
  client: Client,
  wanted: string | undefined,
  where: string,
): Promise<void> {
  const line = await client.line();
  if (wanted?.endsWith("…")) {
    assert.equal(`${line?.slice(0, wanted.length - 1)}…`, wanted, `${where}: ${line}`);
  } else {
    assert.equal(line, wanted, where);
  }
}

/** Compares the envelope; returns the message below its `Received` field. */
function checkEnvelope(delivery: Delivery | undefined, wanted: string, where: string): string {
  assert.ok(delivery, `${where}: no message was delivered`);
  const { reversePath, recipients } = delivery.envelope;
  assert.equal(`<${reversePath}> -> ${recipients.join(", ")}`, wanted, where);
  return delivery.content.replace(/^Received: .*\n(?: .*\n)*/, "");
}

function checkBodyLine(content: string, wanted: string, where: string): string {
  const end = content.indexOf("\n");
  assert.equal(content.slice(0, end), unescaped(wanted), where);
  return content.slice(end + 1);
}
