import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ServerSession, type SessionSettings } from "./session.ts";

const settings: SessionSettings = {
  protocol: "smtp",
  hostname: "mx.example.com",
  postmasterDomain: "example.com",
  limits: { maxMessageBytes: 1_000 },
};

function session(changes: Partial<SessionSettings> = {}): ServerSession {
  return new ServerSession({ id: "1", isLocal: true }, { ...settings, ...changes });
}

/** The result of each line: the reply, or the kind of another result. */
function played(over: ServerSession, ...lines: string[]): string[] {
  return lines.map((line) => {
    const result = over.command(line);
    if (result.kind === "recipient") return over.accept(result.address).trim();
    return "lines" in result ? result.lines.trim() : result.kind;
  });
}

test("MAIL and RCPT fill the envelope, RSET clears it", () => {
  const over = session();
  played(
    over,
    "EHLO c",
    "MAIL FROM:<a@b.c> SIZE=10 SMTPUTF8",
    "RCPT TO:<d@e.f>",
    "RCPT TO:<D@e.f>",
  );
  assert.equal(over.reversePath, "a@b.c");
  assert.equal(over.announcedBytes, 10);
  assert.equal(over.transmissionType, "UTF8SMTP");
  assert.deepEqual(over.recipients, ["d@e.f", "D@e.f"]);
  assert.equal(over.command("DATA").kind, "message");
  played(over, "RSET");
  assert.equal(over.reversePath, undefined);
  assert.equal(over.announcedBytes, 0);
  assert.equal(over.transmissionType, "ESMTP");
  assert.deepEqual(over.recipients, []);
  assert.deepEqual(played(over, "DATA"), ["503 5.5.1 Error: need RCPT command"]);
});

test("the transmission type follows HELO, EHLO and LHLO", () => {
  for (const [protocol, hello, type] of [
    ["smtp", "HELO c", "SMTP"],
    ["smtp", "EHLO c", "ESMTP"],
    ["lmtp", "LHLO c", "LMTP"],
  ] as const) {
    const over = session({ protocol });
    played(over, hello);
    assert.equal(over.transmissionType, type);
  }
});

test("a second EHLO or HELO resets the transaction", () => {
  const over = session();
  played(over, "EHLO one", "MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>", "HELO two");
  assert.equal(over.helo, "two");
  assert.deepEqual(over.recipients, []);
});

test("info() is a snapshot of the session", () => {
  const over = session();
  const before = over.info();
  played(over, "EHLO Client.Example", "MAIL FROM:<a@b.c>");
  assert.deepEqual(before, {
    id: "1",
    isLocal: true,
    protocol: "smtp",
    helo: undefined,
    reversePath: undefined,
  });
  assert.deepEqual(over.info(), {
    id: "1",
    isLocal: true,
    protocol: "smtp",
    helo: "client.example",
    reversePath: "a@b.c",
  });
});

test("names of Object.prototype's methods are unknown commands", () => {
  for (const line of ["constructor", "__proto__", "toString", "hasOwnProperty x"]) {
    assert.deepEqual(played(session(), line), ["500 5.5.2 Error: command not recognized"]);
  }
});

test("a refusal of a RCPT parameter carries the recipient", () => {
  const over = session();
  played(over, "EHLO c", "MAIL FROM:<>");
  const result = over.command("RCPT TO:<a@b.c> NOTIFY=NEVER");
  assert.ok(result.kind === "refuse");
  assert.equal(result.recipient, "a@b.c");
  assert.equal(result.reply.code, 555);
});

test("a SIZE of 20 digits is compared, an invalid one is a syntax error", () => {
  const over = session();
  const size = (digits: string) => over.command(`MAIL FROM:<> SIZE=${digits}`);
  played(over, "EHLO c");
  const result = size("9".repeat(20));
  assert.ok(result.kind === "refuse" && result.reply.code === 552);
  const answers = [size("9".repeat(21)), size("-1"), size("1e3"), size("0x1")];
  for (const each of answers) assert.ok(each.kind === "answer" && each.lines.startsWith("501 "));
});

const word = fc.constantFrom(
  "EHLO c",
  "LHLO c",
  "MAIL FROM:<>",
  "RCPT TO:<a@b.c>",
  "DATA",
  "RSET",
  "X",
);

for (const protocol of ["smtp", "lmtp"] as const) {
  test(`${protocol}: in any order of commands a message has a sender and recipients`, () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.string({ maxLength: 30 }))), (lines) => {
        const over = session({ protocol });
        for (const line of lines) {
          const result = over.command(line);
          if (result.kind === "recipient") over.accept(result.address);
          if ("lines" in result) assert.match(result.lines, /^(?:[2-5]\d\d[ -][^\r\n]*\r\n)+$/);
          if (result.kind === "end") return;
          if (result.kind !== "message") continue;
          assert.notEqual(over.helo, undefined);
          assert.notEqual(over.reversePath, undefined);
          assert.notEqual(over.recipients.length, 0);
        }
      }),
    );
  });
}
