/** The record format: what is read back, and what is no record. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  blockBytes,
  encodeRecord,
  formatVersion,
  generationOf,
  headBytes,
  isOfSegment,
  lsnOf,
  type NewRecord,
  readRecord,
  recordBytes,
} from "./format.ts";

const anyBytes = fc.uint8Array({ maxLength: 6000 });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const record: fc.Arbitrary<NewRecord> = fc.record({
  kind: fc.constantFrom("header", "frame", "marks"),
  generation: u64,
  random: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  count: fc.nat(),
  lsn: fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
  info: fc.uint8Array({ maxLength: 300 }),
  payload: fc.array(anyBytes, { maxLength: 3 }),
});

function encoded(one: NewRecord, at = 0, rubbish = 0xa5): { bytes: Buffer; size: number } {
  const bytes = Buffer.alloc(at + 8 * blockBytes, rubbish);
  return { bytes, size: encodeRecord(bytes, at, one) };
}

test("a record is read as it was written, padded with zeros to a multiple of 4096", () => {
  fc.assert(
    fc.property(record, fc.constantFrom(0, blockBytes), (one, at) => {
      const { bytes, size } = encoded(one, at);
      const found = readRecord(bytes, at);
      assert.equal(found.state, "whole");
      if (found.state !== "whole") return;
      const { head, info } = found;
      assert.equal(size % blockBytes, 0);
      assert.equal(size, recordBytes(head.infoBytes, head.payloadBytes));
      assert.deepEqual(Buffer.from(info), Buffer.from(one.info));
      const from = at + headBytes + head.infoBytes;
      const payload = bytes.subarray(from, from + head.payloadBytes);
      assert.deepEqual(payload, Buffer.concat(one.payload));
      assert.ok(bytes.subarray(from + head.payloadBytes, at + size).every((byte) => byte === 0));
      assert.ok(
        bytes.subarray(at + size).every((byte) => byte === 0xa5),
        "not one byte more",
      );
      const { kind, generation, count, lsn } = head;
      assert.deepEqual(
        { kind, generation, count, lsn },
        { kind: one.kind, generation: one.generation, count: one.count, lsn: one.lsn },
      );
      assert.ok(isOfSegment(head, { ...head, random: one.random }));
    }),
  );
});

test("a record with any bit flipped is no record", () => {
  fc.assert(
    fc.property(record, fc.nat(), fc.nat(7), (one, place, bit) => {
      const { bytes } = encoded(one);
      const length = headBytes + one.info.length + Buffer.concat(one.payload).length;
      const at = place % length;
      bytes[at] = bytes[at]! ^ (1 << bit);
      assert.notEqual(readRecord(bytes, 0).state, "whole");
    }),
    { numRuns: 500 },
  );
});

test("a record with any of its sectors missing is no record", () => {
  fc.assert(
    fc.property(record, fc.nat(), fc.constantFrom(0, 0xa5), (one, place, rubbish) => {
      const { bytes } = encoded(one);
      const length = headBytes + one.info.length + Buffer.concat(one.payload).length;
      const sector = 512 * (place % Math.ceil(length / 512));
      const before = Buffer.from(bytes);
      bytes.fill(rubbish, sector, sector + 512);
      if (bytes.subarray(0, length).equals(before.subarray(0, length))) return;
      assert.notEqual(readRecord(bytes, 0).state, "whole");
    }),
  );
});

test("a record cut by the end of the segment is no record", () => {
  fc.assert(
    fc.property(record, fc.nat(), (one, place) => {
      const { bytes, size } = encoded(one);
      assert.notEqual(readRecord(bytes.subarray(0, place % size), 0).state, "whole");
    }),
  );
});

test("zeros of any length are no record", () => {
  assert.equal(readRecord(Buffer.alloc(3 * blockBytes), blockBytes).state, "none");
  assert.equal(readRecord(Buffer.alloc(0), 0).state, "none");
});

test("an unknown version is distinguished from damage", () => {
  const one = { kind: "header", generation: 1n, count: 0, lsn: 0n } as const;
  const { bytes } = encoded({
    ...one,
    random: new Uint8Array(16),
    info: Buffer.alloc(0),
    payload: [],
  });
  const later = withVersion(bytes, formatVersion + 1);
  assert.deepEqual(readRecord(later, 0), { state: "foreign", version: formatVersion + 1 });
  later[20] = 1;
  assert.deepEqual(readRecord(later, 0), { state: "none" });
});

test("every random bit of a segment is compared", () => {
  const random = Buffer.alloc(16, 7);
  const { bytes } = encoded({
    kind: "frame",
    generation: 3n,
    count: 0,
    lsn: 0n,
    random,
    info: Buffer.alloc(0),
    payload: [],
  });
  const found = readRecord(bytes, 0);
  assert.ok(found.state === "whole");
  for (let bit = 0; bit < 128; bit += 1) {
    const other = Buffer.from(random);
    other[bit >> 3] = other[bit >> 3]! ^ (1 << (bit & 7));
    assert.equal(isOfSegment(found.head, { ...found.head, random: other }), false);
  }
  assert.equal(isOfSegment(found.head, { ...found.head, generation: 4n }), false);
});

test("a frame number has the generation in its high half, the count in the low half", () => {
  assert.equal(lsnOf(2n, 5), 2n * 2n ** 64n + 5n);
  assert.equal(generationOf(lsnOf(2n ** 64n - 1n, 9)), 2n ** 64n - 1n);
  assert.ok(lsnOf(2n, 0) > lsnOf(1n, Number.MAX_SAFE_INTEGER));
});

/** A record of a later version: the same first 16 bytes and the same length of the head. */
function withVersion(bytes: Buffer, version: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt16BE(version, 12);
  copy.writeUInt32BE(checksum(copy.subarray(12, headBytes)), 8);
  return copy;
}

/** CRC-32 as in ISO 3309, written out, so that the format does not depend on one library. */
function checksum(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
