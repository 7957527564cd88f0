import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { withCrlf } from "./line-endings.ts";

test("any bytes get CRLF line endings only; nothing else changes", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(0, 10, 13, 65, 200)), (given) => {
      const out = Buffer.from(withCrlf(Buffer.from(given))).toString("latin1");
      assert.doesNotMatch(out, /(?<!\r)\n|\r(?!\n)/);
      const plain = (text: string) => text.replace(/\r\n|\r|\n/g, "\n");
      assert.equal(plain(out), plain(Buffer.from(given).toString("latin1")));
      const again = Buffer.from(out, "latin1");
      assert.equal(withCrlf(again), again, "bytes with CRLF only are not copied");
    }),
    { numRuns: 1_000 },
  );
});

test("a changed message has a buffer of its own, of exact size", () => {
  const { buffer, byteLength } = withCrlf(Buffer.from("a\nb\r\nc\n").subarray(2));
  assert.equal(buffer.byteLength, byteLength);
  assert.equal(byteLength, "b\r\nc\r\n".length);
});
