import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hangUpText, readAddressCommand, unknownParameter } from "./command-text.ts";

const read = (line: string) => readAddressCommand("mail from", line, "example.com");

test("parameters are read with their values, keywords in any case", () => {
  assert.deepEqual(read("MAIL FROM:<a@b.c> size=10 SMTPUTF8 Body=8BITMIME x="), {
    address: "a@b.c",
    args: { SIZE: "10", SMTPUTF8: true, BODY: "8BITMIME", X: "" },
  });
});

test("a parameter given twice is noted", () => {
  const command = read("MAIL FROM:<a@b.c> SIZE=1 size=2");
  assert.ok(command);
  assert.equal(command.duplicate, "SIZE");
});

test("the first unknown parameter is found", () => {
  assert.equal(unknownParameter({ SIZE: "1", RET: "FULL", X: true }, ["SIZE"]), "RET");
  assert.equal(unknownParameter({ SIZE: "1" }, ["SIZE"]), undefined);
  assert.equal(unknownParameter(false, []), undefined);
});

test("only RCPT names a postmaster without a domain", () => {
  const command = readAddressCommand("rcpt to", "RCPT TO:<postmaster>", "example.com");
  assert.ok(command);
  assert.equal(command.address, "postmaster@example.com");
  assert.equal(read("MAIL FROM:<postmaster>"), false);
});

test("no line makes reading it throw", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 80 }), (text) => {
      const command = read(`MAIL FROM:${text}`);
      if (command) assert.doesNotMatch(command.address, /[\r\n\0<>]/);
    }),
  );
});

test("every 421 has an enhanced code", () => {
  for (const text of ["Server shutting down", "anything", "4.4.2 Timeout"]) {
    assert.match(hangUpText(text), /^4\.\d\.\d /);
  }
});
