import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DotReader } from "./dot-reader.ts";

/** Reads these chunks; `rest` is the input after the end, or undefined without an end. */
function read(pieces: readonly string[]): { text: string; rest: string | undefined } {
  const reader = new DotReader();
  let text = "";
  let rest: string | undefined;
  for (const piece of pieces) {
    const bytes = Buffer.from(piece, "latin1");
    if (rest !== undefined) {
      rest += piece;
      continue;
    }
    const found = reader.read(bytes);
    text += found.text.toString("latin1");
    rest = found.rest?.toString("latin1");
  }
  return { text, rest };
}

for (const [bytes, text, rest] of [
  [".\r\n", "", ""],
  ["a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n"],
  ["\r\n.\r\n", "\r\n", ""],
  ["..\r\n...\r\n..a\r\n.\r\n", ".\r\n..\r\n.a\r\n", ""],
  [".a\r\n.\r\n", "a\r\n", ""],
  ["a.\r\n .\r\n.\r\n", "a.\r\n .\r\n", ""],
  ["\r\r\n.\r\n", "\r\r\n", ""],
  ["..\r\n.\r\n.\r\n", ".\r\n", ".\r\n"],
] as const) {
  test(`${JSON.stringify(bytes)} is read as ${JSON.stringify(text)}, and ${JSON.stringify(rest)} is left`, () => {
    assert.deepEqual(read([bytes]), { text, rest });
  });
}

for (const bytes of ["\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\rx\n", "\r.\r\n"]) {
  test(`${JSON.stringify(bytes)} does not end a message`, () => {
    assert.equal(read(["a", bytes, "b"]).rest, undefined);
  });
}

const bytes = fc
  .array(fc.constantFrom("\r", "\n", ".", "x", "\r\n", "\r\n."))
  .map((all) => all.join(""));

/** The rule of RFC 5321 §4.5.2, line by line. */
function readByLines(wire: string): { text: string; rest: string | undefined } {
  const lines = wire.split("\r\n");
  const end = lines.slice(0, -1).indexOf(".");
  const text = (end < 0 ? lines : [...lines.slice(0, end), ""])
    .map((line) => (line.startsWith(".") ? line.slice(1) : line))
    .join("\r\n");
  return { text, rest: end < 0 ? undefined : lines.slice(end + 1).join("\r\n") };
}

test("every message is read as RFC 5321 defines, in any chunks", () => {
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(30), { maxLength: 6 }), (message, places) => {
      const wire = `${message}\r\n.\r\nNOOP`;
      const cuts = [0, ...[...places].sort((a, b) => a - b), wire.length];
      const pieces = cuts.slice(1).map((cut, index) => wire.slice(cuts[index], cut));
      assert.deepEqual(read(pieces.filter((piece) => piece !== "")), readByLines(wire));
      assert.deepEqual(read([...wire]), readByLines(wire));
    }),
    { numRuns: 2_000 },
  );
});
