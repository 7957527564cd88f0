/** What a log contains, decided from segments built by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SeededRandom } from "../../test/support/seeded-random.ts";
import { contentsOf } from "./contents.ts";
import { encodeRecord, type Lsn, lsnOf, type NewRecord, readRecord } from "./format.ts";
import { encodeInfo, type ListedSegment, type Marks } from "./info.ts";
import { scanSegment } from "./scan.ts";

const ownId = "0123456789abcdef0123456789abcdef";

interface Frame {
  readonly text: string;
  readonly volumes?: readonly string[];
  readonly copyOf?: Lsn;
}

interface Plan {
  readonly generation: bigint;
  readonly frames: readonly Frame[];
  readonly listed?: readonly ListedSegment[];
  readonly marks?: Readonly<Record<string, Marks>>;
  readonly id?: string;
}

/** A segment as the log would have written it. */
function segment({ generation, frames, listed = [], marks = {}, id = ownId }: Plan): Buffer {
  const bytes = Buffer.alloc(64 * 1024);
  const random = Buffer.alloc(16, Number(generation));
  const info = (volumes: readonly string[]) =>
    encodeInfo({ id, starts: 1n, marks: new Map(Object.entries(marks)), listed, volumes });
  const common = { generation, random };
  const lsn = lsnOf(generation, 0);
  const header = { kind: "header", count: 0, lsn, info: info([]), payload: [] } as const;
  let at = encodeRecord(bytes, 0, { ...common, ...header });
  for (const [count, { text, volumes = ["v"], copyOf }] of frames.entries()) {
    const frame: NewRecord = {
      ...common,
      kind: "frame",
      count,
      lsn: copyOf ?? lsnOf(generation, count),
      info: info(volumes),
      payload: [Buffer.from(text)],
    };
    at += encodeRecord(bytes, at, frame);
  }
  return bytes;
}

function contentsIn(segments: Readonly<Record<string, Buffer>>) {
  const found = Object.entries(segments).map(([name, bytes]) => ({
    name,
    bytes: bytes.length,
    scan: scanSegment(bytes),
  }));
  const result = contentsOf(found);
  const texts = result.frames.map(({ segment: name, at, infoBytes, payloadBytes }) =>
    segments[name]!.toString("utf8", at + 80 + infoBytes, at + 80 + infoBytes + payloadBytes),
  );
  return { ...result, texts };
}

const listedWhole = (generation: bigint, count: number) => ({
  generation,
  durableCount: count,
  endCount: count,
});

test("an empty directory is an empty log", () => {
  const { id, starts, frames, damage, highestGeneration } = contentsIn({});
  assert.deepEqual(
    { id, starts, frames, damage, highestGeneration },
    { id: undefined, starts: 0n, frames: [], damage: [], highestGeneration: 0n },
  );
});

test("frames of several segments are joined in the order of their numbers", () => {
  const { texts, damage } = contentsIn({
    b: segment({ generation: 1n, frames: [{ text: "one" }, { text: "two" }] }),
    a: segment({ generation: 4n, frames: [{ text: "three" }], listed: [listedWhole(1n, 2)] }),
  });
  assert.deepEqual(texts, ["one", "two", "three"]);
  assert.deepEqual(damage, []);
});

test("a segment that the newest record does not list is free, with all its frames", () => {
  const { texts, free, freed } = contentsIn({
    a: segment({ generation: 1n, frames: [{ text: "old" }] }),
    b: segment({ generation: 2n, frames: [{ text: "new" }, { text: "newer" }] }),
  });
  assert.deepEqual(texts, ["new", "newer"]);
  assert.deepEqual(free, ["a"]);
  assert.deepEqual(freed, []);
});

test("a segment that only the newest record frees stays until that record is durable", () => {
  const { free, freed } = contentsIn({
    a: segment({ generation: 1n, frames: [{ text: "old" }] }),
    b: segment({ generation: 2n, frames: [{ text: "the only record" }] }),
  });
  assert.deepEqual(free, []);
  assert.deepEqual(freed, ["a"]);
});

test("frames after the listed end of a segment are void", () => {
  const { texts, damage } = contentsIn({
    a: segment({ generation: 1n, frames: [{ text: "kept" }, { text: "its write failed" }] }),
    b: segment({ generation: 2n, frames: [{ text: "next" }], listed: [listedWhole(1n, 1)] }),
  });
  assert.deepEqual(texts, ["kept", "next"]);
  assert.deepEqual(damage, []);
});

test("a frame and its copy count once; the higher generation wins", () => {
  const { texts, frames } = contentsIn({
    a: segment({ generation: 1n, frames: [{ text: "one" }, { text: "two" }] }),
    b: segment({
      generation: 2n,
      frames: [{ text: "two", copyOf: lsnOf(1n, 1) }],
      listed: [{ generation: 1n, durableCount: 1, endCount: 2 }],
    }),
  });
  assert.deepEqual(texts, ["one", "two"]);
  assert.deepEqual(
    frames.map((frame) => [frame.lsn, frame.segment]),
    [
      [lsnOf(1n, 0), "a"],
      [lsnOf(1n, 1), "b"],
    ],
  );
});

test("frames published by every volume are not recovered", () => {
  const upTo = lsnOf(1n, 1);
  const { texts } = contentsIn({
    a: segment({
      generation: 1n,
      frames: [{ text: "one" }, { text: "two", volumes: ["v", "w"] }, { text: "three" }],
      marks: { v: { durable: upTo, published: upTo } },
    }),
  });
  assert.deepEqual(texts, ["two", "three"]);
});

test("marks of several segments are merged; the later of each counts", () => {
  const early = { durable: lsnOf(1n, 5), published: lsnOf(1n, 1) };
  const late = { durable: lsnOf(1n, 2), published: lsnOf(1n, 2) };
  const { marks } = contentsIn({
    a: segment({ generation: 1n, frames: [], marks: { v: early, only: early } }),
    b: segment({ generation: 2n, frames: [], marks: { v: late } }),
  });
  assert.deepEqual(marks.get("v"), { durable: early.durable, published: late.published });
  assert.deepEqual(marks.get("only"), early);
});

test("a missing segment is damage unless none of its records was durable", () => {
  const newest = (listed: ListedSegment) =>
    segment({ generation: 2n, frames: [], listed: [listed] });
  assert.match(
    contentsIn({ b: newest(listedWhole(1n, 2)) }).damage.join(),
    /generation 1 is missing/,
  );
  assert.deepEqual(
    contentsIn({ b: newest({ generation: 1n, durableCount: 0, endCount: 1 }) }).damage,
    [],
  );
});

test("a segment of another journal is damage and yields no frame", () => {
  const { texts, damage } = contentsIn({
    a: segment({ generation: 1n, frames: [{ text: "strange" }], id: "f".repeat(32) }),
    b: segment({ generation: 2n, frames: [{ text: "own" }], listed: [listedWhole(1n, 1)] }),
  });
  assert.deepEqual(texts, ["own"]);
  assert.match(damage.join(), /a belongs to another journal/);
});

test("a newest segment without header is damage; its generation is not reused", () => {
  const newest = segment({ generation: 2n, frames: [{ text: "three" }, { text: "four" }] });
  newest[30] = 0xff;
  const { damage, highestGeneration, free } = contentsIn({
    a: segment({ generation: 1n, frames: [{ text: "one" }] }),
    b: newest,
  });
  assert.match(damage.join(), /b has no readable header/);
  assert.equal(highestGeneration, 2n);
  assert.deepEqual(free, []);
});

test("a flipped bit invents no frame, and a lost frame is reported as damage", () => {
  const plan = {
    a: segment({ generation: 1n, frames: [{ text: "one" }, { text: "two".repeat(2000) }] }),
    b: segment({ generation: 3n, frames: [{ text: "three" }], listed: [listedWhole(1n, 2)] }),
    c: segment({
      generation: 4n,
      frames: [{ text: "four" }, { text: "five" }, { text: "six" }],
      listed: [listedWhole(1n, 2), listedWhole(3n, 1)],
    }),
  };
  const whole = contentsIn(plan).texts;
  assert.equal(whole.length, 6);
  fc.assert(
    fc.property(fc.nat(), fc.constantFrom("a", "b", "c"), fc.nat(7), (seed, name, bit) => {
      const bytes = Buffer.from(plan[name as "a" | "b" | "c"]);
      const place = somewhereInARecord(bytes, new SeededRandom(seed));
      bytes[place] = bytes[place]! ^ (1 << bit);
      const { texts, damage } = contentsIn({ ...plan, [name]: bytes });
      assert.ok(texts.every((text) => whole.includes(text)));
      assert.equal(new Set(texts).size, texts.length);
      // A damaged last record looks like one whose write was cut.
      const lost = whole.filter((text) => !texts.includes(text));
      const isTornTail = lost.length === 1 && lost[0] === "six";
      assert.ok(lost.length === 0 || isTornTail || damage.length > 0, lost.join());
    }),
    { numRuns: 1000 },
  );
});

/** The position of a random byte of a record, not of its padding. */
function somewhereInARecord(bytes: Buffer, random: SeededRandom): number {
  for (;;) {
    const at = 4096 * random.below(bytes.length / 4096);
    const found = readRecord(bytes, at);
    if (found.state !== "whole") continue;
    return at + random.below(80 + found.head.infoBytes + found.head.payloadBytes);
  }
}
