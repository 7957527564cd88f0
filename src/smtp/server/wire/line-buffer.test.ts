import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LineBuffer } from "./line-buffer.ts";

function filled(text: string, maxLineBytes = 20): LineBuffer {
  const buffer = new LineBuffer(maxLineBytes);
  buffer.push(Buffer.from(text));
  return buffer;
}

test("a line ends at CRLF or LF, and the rest stays in the buffer", () => {
  const buffer = filled("one\r\ntwo\n\nthr");
  assert.deepEqual(
    [1, 2, 3].map(() => buffer.takeLine()),
    ["one", "two", ""],
  );
  assert.equal(buffer.takeLine(), undefined);
  assert.equal(buffer.length, 3);
  assert.equal(buffer.takeAll().toString(), "thr");
  assert.equal(buffer.length, 0);
});

test("a line as long as the limit is taken; with one more byte it is too long", () => {
  assert.equal(filled(`${"x".repeat(20)}\n`).takeLine(), "x".repeat(20));
  for (const text of [`${"x".repeat(21)}\n`, "x".repeat(21)]) {
    const buffer = filled(text);
    assert.equal(buffer.takeLine(), undefined);
    assert.ok(buffer.isLineTooLong);
  }
});

test("only the first line of the buffer is compared with the limit", () => {
  assert.ok(!filled("x".repeat(20)).isLineTooLong);
  assert.ok(!filled(`NOOP\r\n${"x".repeat(100)}`).isLineTooLong);
});

test("the lines do not depend on the chunks of the input", () => {
  const text = fc.array(fc.constantFrom("a", "é", "\r", "\n", "\r\n")).map((all) => all.join(""));
  fc.assert(
    fc.property(text, fc.array(fc.nat(20)), (input, places) => {
      const bytes = Buffer.from(input);
      const cuts = [0, ...[...places].sort((a, b) => a - b), bytes.length];
      const buffer = new LineBuffer(1_000);
      const lines: string[] = [];
      for (const [index, cut] of cuts.slice(1).entries()) {
        buffer.push(bytes.subarray(cuts[index], cut));
        for (let line = buffer.takeLine(); line !== undefined; line = buffer.takeLine()) {
          lines.push(line);
        }
      }
      const whole = input.split("\n");
      assert.equal(buffer.takeAll().toString(), whole.pop());
      assert.deepEqual(
        lines,
        whole.map((line) => line.replace(/\r$/, "")),
      );
    }),
  );
});
