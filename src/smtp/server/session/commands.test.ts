import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readHello, readPathCommand } from "./commands.ts";

const read = (line: string) => readPathCommand("MAIL", line, "example.com");

test("parameters are parsed with their values, keywords in any case", () => {
  const command = read("MAIL FROM:<a@b.c> size=10 SMTPUTF8 Body=8BITMIME x=");
  assert.equal(command?.address, "a@b.c");
  assert.deepEqual(Object.fromEntries(command.parameters), {
    SIZE: "10",
    SMTPUTF8: true,
    BODY: "8BITMIME",
    X: "",
  });
});

test("a parameter given twice is returned as the duplicate", () => {
  assert.equal(read("MAIL FROM:<a@b.c> SIZE=1 size=2")?.duplicate, "SIZE");
});

test("only RCPT accepts postmaster without a domain", () => {
  const command = readPathCommand("RCPT", "RCPT TO:<postmaster>", "example.com");
  assert.equal(command?.address, "postmaster@example.com");
  assert.equal(read("MAIL FROM:<postmaster>"), undefined);
});

test("no line makes the parser throw", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 80 }), (text) => {
      const command = read(`MAIL FROM:${text}`);
      if (command) assert.doesNotMatch(command.address, /[\r\n\0<>]/);
    }),
  );
});

test("EHLO needs exactly one name, which is read in lower case", () => {
  assert.equal(readHello("EHLO Client.Example "), "client.example");
  assert.equal(readHello("HELO [192.0.2.1]"), "[192.0.2.1]");
  for (const line of ["EHLO", "EHLO  ", "EHLO a b", "EHLO a\0b", `EHLO ${"x".repeat(301)}`]) {
    assert.equal(readHello(line), undefined, JSON.stringify(line));
  }
});
