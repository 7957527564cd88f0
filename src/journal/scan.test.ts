/** The scan of one segment: records, holes, torn tails, imitations. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { blockBytes, encodeRecord, lsnOf, type NewRecord } from "./format.ts";
import { encodeInfo } from "./info.ts";
import { scanSegment } from "./scan.ts";

const id = "0123456789abcdef0123456789abcdef";
const segmentBytes = 64 * 1024;

/** Writes a segment by hand: a header, then a frame for each payload. */
function segment(generation: bigint, random: number, payloads: readonly (string | Buffer)[]) {
  const bytes = Buffer.alloc(segmentBytes);
  return over(bytes, generation, random, payloads);
}

function over(
  bytes: Buffer,
  generation: bigint,
  random: number,
  payloads: readonly (string | Buffer)[],
): Buffer {
  const common = { generation, random: Buffer.alloc(16, random) };
  const info = (starts: number, volumes: string[]) =>
    encodeInfo({ id, starts: BigInt(starts), marks: new Map(), listed: [], volumes });
  const header: NewRecord = {
    ...common,
    kind: "header",
    count: 0,
    lsn: lsnOf(generation, 0),
    info: info(0, []),
    payload: [],
  };
  let at = encodeRecord(bytes, 0, header);
  for (const [count, payload] of payloads.entries()) {
    at += encodeRecord(bytes, at, {
      ...common,
      kind: "frame",
      count,
      lsn: lsnOf(generation, count),
      info: info(count + 1, ["v"]),
      payload: [Buffer.from(payload)],
    });
  }
  return bytes;
}

function read(bytes: Buffer) {
  const scan = scanSegment(bytes);
  assert.ok(scan.state === "segment", `state ${scan.state}`);
  return scan;
}

test("every record is found, with the info of the newest and the one before", () => {
  const scan = read(segment(5n, 1, ["one", "x".repeat(9000), "three"]));
  assert.deepEqual(
    scan.records.map(({ count, at, payloadBytes }) => [count, at, payloadBytes]),
    [
      [0, 4096, 3],
      [1, 8192, 9000],
      [2, 20480, 5],
    ],
  );
  assert.deepEqual(scan.holes, []);
  assert.equal(scan.newestInfo.starts, 3n);
  assert.equal(scan.durableInfo?.starts, 2n);
});

test("a torn tail is not a hole", () => {
  const bytes = segment(5n, 1, ["one", "two", "x".repeat(9000)]);
  bytes.fill(0, 5 * blockBytes, 5 * blockBytes + 512);
  const scan = read(bytes);
  assert.equal(scan.records.length, 2);
  assert.deepEqual(scan.holes, []);
});

test("an invalid record before valid ones is a hole; the valid ones are found", () => {
  const bytes = segment(5n, 1, ["one", "two", "three", "four"]);
  bytes[2 * blockBytes + 84] = 0xff;
  const scan = read(bytes);
  assert.deepEqual(
    scan.records.map(({ count }) => count),
    [0, 2, 3],
  );
  assert.deepEqual(scan.holes, [[1, 2]]);
});

test("records of an earlier use of a segment are not found in its next use", () => {
  const bytes = segment(5n, 1, ["old one", "old two", "old three", "old four"]);
  over(bytes, 6n, 2, ["new one", "new two"]);
  const scan = read(bytes);
  assert.equal(scan.records.length, 2);
  assert.deepEqual(scan.holes, []);
});

test("records of an earlier use with the same generation but other bits are not found", () => {
  const bytes = segment(5n, 1, ["old one", "old two", "old three", "old four"]);
  over(bytes, 5n, 2, ["new one"]);
  assert.equal(read(bytes).records.length, 1);
});

test("a body that imitates frames yields no frame, whether its record is torn or whole", () => {
  // An attacker can know everything but the random bits.
  const imitation = segment(5n, 9, ["forged 0", "forged 1", "forged 2", "forged 3", "forged 4"]);
  const bytes = segment(5n, 1, ["one"]);
  const padding = Buffer.alloc(blockBytes - 80 - 33 - 5);
  const body = Buffer.concat([padding, Buffer.alloc(64), imitation.subarray(0, 6 * blockBytes)]);
  for (let shift = 0; shift < 128; shift += 1) {
    const shifted = body.subarray(shift);
    const whole = over(Buffer.from(bytes), 5n, 1, ["one", shifted, "three"]);
    assert.equal(read(whole).records.length, 3);
    whole[2 * blockBytes + 300] = 0xff;
    const scan = read(whole);
    assert.deepEqual(
      scan.records.map(({ count }) => count),
      [0, 2],
    );
  }
});

test("a segment of zeros is blank", () => {
  assert.deepEqual(scanSegment(Buffer.alloc(segmentBytes)), { state: "blank", strays: [] });
});

test("a torn first write leaves a blank segment", () => {
  const bytes = segment(5n, 1, ["one"]);
  bytes[40] = 0xff;
  assert.deepEqual(scanSegment(bytes), { state: "blank", strays: [] });
});

test("frames behind an unreadable header are found", () => {
  const bytes = segment(5n, 1, ["one", "two", "three"]);
  bytes[40] = 0xff;
  const scan = scanSegment(bytes);
  assert.ok(scan.state === "blank");
  assert.deepEqual(
    scan.strays.map(({ count }) => count),
    [1, 2],
  );
});
