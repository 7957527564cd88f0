/** The info of a record, and the arithmetic of marks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeInfo, encodeInfo, isFinished, laterMarks, maxVolumeBytes } from "./info.ts";

const lsn = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n });
const volume = fc
  .string({ minLength: 1, maxLength: 80, unit: "grapheme" })
  .filter((name) => Buffer.byteLength(name) <= maxVolumeBytes && name.isWellFormed());
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const info = fc.record({
  id: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((id) => Buffer.from(id).toString("hex")),
  starts: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  marks: fc
    .array(
      fc.tuple(volume, fc.record({ durable: lsn, published: lsn }, { noNullPrototype: true })),
      { maxLength: 4 },
    )
    .map((marks) => new Map(marks)),
  listed: fc.array(
    fc.record(
      { generation: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), durableCount: u32, endCount: u32 },
      { noNullPrototype: true },
    ),
    { maxLength: 8 },
  ),
  volumes: fc.array(volume, { maxLength: 4 }),
});

test("the info of a record is read as it was written", () => {
  fc.assert(
    fc.property(info, (one) => {
      assert.deepEqual(decodeInfo(encodeInfo(one)), { ...one });
    }),
  );
});

test("a mark never goes back", () => {
  const known = { durable: 7n, published: 5n };
  assert.deepEqual(laterMarks(known, { durable: 6n }), known);
  assert.deepEqual(laterMarks(known, { published: 6n }), { durable: 7n, published: 6n });
  assert.deepEqual(laterMarks(undefined, { durable: 1n }), { durable: 1n, published: 0n });
});

test("a frame is finished when all its volumes have published it", () => {
  const marks = new Map([["a", { durable: 9n, published: 9n }]]);
  assert.equal(isFinished(marks, ["a"], 9n), true);
  assert.equal(isFinished(marks, ["a"], 10n), false);
  assert.equal(isFinished(marks, ["a", "b"], 9n), false);
});
