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
function played(server: ServerSession, ...lines: string[]): string[] {
  return lines.map((line) => {
    const result = server.command(line);
    if (result.kind === "recipient") return server.accept(result.address).trim();
    return "lines" in result ? result.lines.trim() : result.kind;
  });
}

test("MAIL and RCPT fill the envelope, RSET clears it", () => {
  const server = session();
  played(
    server,
    "EHLO c",
    "MAIL FROM:<a@b.c> SIZE=10 SMTPUTF8",
    "RCPT TO:<d@e.f>",
    "RCPT TO:<D@e.f>",
  );
  assert.equal(server.reversePath, "a@b.c");
  assert.equal(server.announcedBytes, 10);
  assert.equal(server.transmissionType, "UTF8SMTP");
  assert.deepEqual(server.recipients, ["d@e.f", "D@e.f"]);
  assert.equal(server.command("DATA").kind, "message");
  played(server, "RSET");
  assert.equal(server.reversePath, undefined);
  assert.equal(server.announcedBytes, 0);
  assert.equal(server.transmissionType, "ESMTP");
  assert.deepEqual(server.recipients, []);
  assert.deepEqual(played(server, "DATA"), ["503 5.5.1 Error: need RCPT command"]);
});

test("the transmission type follows HELO, EHLO and LHLO", () => {
  for (const [protocol, hello, type] of [
    ["smtp", "HELO c", "SMTP"],
    ["smtp", "EHLO c", "ESMTP"],
    ["lmtp", "LHLO c", "LMTP"],
  ] as const) {
    const server = session({ protocol });
    played(server, hello);
    assert.equal(server.transmissionType, type);
  }
});

test("a second EHLO or HELO resets the transaction", () => {
  const server = session();
  played(server, "EHLO one", "MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>", "HELO two");
  assert.equal(server.helo, "two");
  assert.deepEqual(server.recipients, []);
});

test("info() is a snapshot of the session", () => {
  const server = session();
  const before = server.info();
  played(server, "EHLO Client.Example", "MAIL FROM:<a@b.c>");
  assert.deepEqual(before, {
    id: "1",
    isLocal: true,
    protocol: "smtp",
    helo: undefined,
    reversePath: undefined,
  });
  assert.deepEqual(server.info(), {
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
  const server = session();
  played(server, "EHLO c", "MAIL FROM:<>");
  const result = server.command("RCPT TO:<a@b.c> NOTIFY=NEVER");
  assert.ok(result.kind === "refuse");
  assert.equal(result.recipient, "a@b.c");
  assert.equal(result.reply.code, 555);
});

test("a SIZE of 20 digits is compared with the limit, an invalid SIZE gets 501", () => {
  const server = session();
  const size = (digits: string) => server.command(`MAIL FROM:<> SIZE=${digits}`);
  played(server, "EHLO c");
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
        const server = session({ protocol });
        for (const line of lines) {
          const result = server.command(line);
          if (result.kind === "recipient") server.accept(result.address);
          if ("lines" in result) assert.match(result.lines, /^(?:[2-5]\d\d[ -][^\r\n]*\r\n)+$/);
          if (result.kind === "end") return;
          if (result.kind !== "message") continue;
          assert.notEqual(server.helo, undefined);
          assert.notEqual(server.reversePath, undefined);
          assert.notEqual(server.recipients.length, 0);
        }
      }),
    );
  });
}
