import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SparseBytes } from "./sparse-bytes.ts";

test("reads return the written bytes across page borders, and zeros elsewhere", () => {
  const sizeBytes = 300_000;
  const piece = fc.record({
    offset: fc.nat(sizeBytes - 100_000),
    length: fc.nat(100_000),
    value: fc.nat(255),
  });
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), piece, (written, asked) => {
      const sparse = new SparseBytes();
      const plain = Buffer.alloc(sizeBytes);
      for (const { offset, length, value } of written) {
        sparse.write(offset, Buffer.alloc(length, value));
        plain.fill(value, offset, offset + length);
      }
      const end = asked.offset + asked.length;
      assert.ok(sparse.read(asked.offset, asked.length).equals(plain.subarray(asked.offset, end)));
      const copy = Buffer.alloc(sizeBytes + 65_536);
      for (const { offset, bytes } of sparse.extents()) bytes.copy(copy, offset);
      assert.ok(copy.subarray(0, sizeBytes).equals(plain));
    }),
    { numRuns: 40 },
  );
});
