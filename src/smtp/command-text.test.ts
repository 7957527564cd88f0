import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hangUpText, readAddressCommand, replyLines, unknownParameter } from "./command-text.ts";

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

test("a reply of several lines has a dash in all but the last", () => {
  assert.equal(
    replyLines(250, "", ["mx.example.com", "PIPELINING"]),
    "250-mx.example.com\r\n250 PIPELINING\r\n",
  );
  assert.equal(replyLines(250, "2.0.0", ["one", "two"]), "250-2.0.0 one\r\n250 2.0.0 two\r\n");
});

test("a reply cannot be split by what stands in it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
      assert.match(replyLines(550, "5.1.1", [text]), /^550 [^\r\n]*\r\n$/);
    }),
  );
});

test("a text with an enhanced code of its own gets no other", () => {
  assert.equal(
    replyLines(550, "5.1.1", ["5.7.1 Relaying denied"]),
    "550 5.7.1 Relaying denied\r\n",
  );
});
