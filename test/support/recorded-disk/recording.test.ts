import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Cut, ignoringFlushes, imagesAfter, keeps, type Recording } from "./recording.ts";
import { SparseBytes } from "./sparse-bytes.ts";

const sector = 512;
const sectors = 8;

/** One step: a write of some sectors, filled with one value, or a flush. */
type Step = { first: number; count: number; value: number } | "flush";

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    first: fc.nat(sectors - 3),
    count: fc.integer({ min: 1, max: 3 }),
    value: fc.integer({ min: 1, max: 255 }),
  }),
  fc.constant("flush" as const),
);

/** Each step takes ten nanoseconds; a flush completes five after it started. */
function recordingOf(steps: readonly Step[]): Recording {
  const writes: Recording["writes"][number][] = [];
  const flushes: Recording["flushes"][number][] = [];
  for (const [index, taken] of steps.entries()) {
    const atNs = index * 10;
    if (taken === "flush") {
      flushes.push({ startedNs: atNs, completedNs: atNs + 5, first: 0, end: writes.length });
    } else {
      const bytes = Buffer.alloc(taken.count * sector, taken.value);
      writes.push({ atNs, offset: taken.first * sector, bytes });
    }
  }
  return { sizeBytes: sectors * sector, writes, flushes };
}

/** The value in each sector of the image after a cut; fails for a sector with two values. */
function valuesAfter(recording: Recording, cut: Cut): number[] {
  const disk = new SparseBytes();
  for (const { extents } of imagesAfter(recording, [cut])) {
    for (const { offset, bytes } of extents) disk.write(offset, bytes);
  }
  return Array.from({ length: sectors }, (_, index) => {
    const [value, ...others] = new Set(disk.read(index * sector, sector));
    assert.deepEqual(others, [], `sector ${index} is torn inside`);
    return value!;
  });
}

const cutOf = (steps: readonly Step[], keep: Cut["keep"], seed = 1): Cut => ({
  atNs: steps.length * 10,
  keep,
  seed,
});

test("after a cut each sector has its last flushed write or a later write", () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 30 }),
      fc.constantFrom(...keeps),
      fc.nat(),
      fc.nat(300),
      (steps, keep, seed, atNs) => {
        const past = steps.filter((_, index) => index * 10 <= atNs);
        const lastFlush = past.findLastIndex(
          (taken, index) => taken === "flush" && index * 10 + 5 <= atNs,
        );
        const possible = Array.from({ length: sectors }, () => new Set([0]));
        for (const [index, taken] of past.entries()) {
          if (taken === "flush") continue;
          for (let at = taken.first; at < taken.first + taken.count; at++) {
            if (index < lastFlush) possible[at]!.clear();
            possible[at]!.add(taken.value);
          }
        }
        const values = valuesAfter(recordingOf(steps), { atNs, keep, seed });
        for (const [at, value] of values.entries()) assert.ok(possible[at]!.has(value));
      },
    ),
  );
});

const write = (first: number, value: number): Step => ({ first, count: 1, value });

test("a cut that keeps no unflushed write leaves the writes that a flush covers", () => {
  const steps = [write(0, 1), "flush", write(0, 2), write(1, 3)] as const;
  assert.deepEqual(valuesAfter(recordingOf(steps), cutOf(steps, "none")).slice(0, 2), [1, 0]);
  assert.deepEqual(valuesAfter(recordingOf(steps), cutOf(steps, "all")).slice(0, 2), [2, 3]);
});

test("a flush in progress at the cut covers no write", () => {
  const steps = [write(0, 1), "flush"] as const;
  const duringFlush: Cut = { atNs: 12, keep: "none", seed: 1 };
  assert.deepEqual(valuesAfter(recordingOf(steps), duringFlush)[0], 0);
  assert.deepEqual(valuesAfter(recordingOf(steps), { ...duringFlush, atNs: 15 })[0], 1);
});

test("a write that arrives during a flush is not covered by that flush", () => {
  const writes = [
    { atNs: 0, offset: 0, bytes: Buffer.alloc(sector, 1) },
    { atNs: 20, offset: sector, bytes: Buffer.alloc(sector, 2) },
  ];
  const flushes = [{ startedNs: 10, completedNs: 30, first: 0, end: 1 }];
  const recording = { sizeBytes: sectors * sector, writes, flushes };
  const values = valuesAfter(recording, { atNs: 40, keep: "none", seed: 1 });
  assert.deepEqual(values.slice(0, 2), [1, 0]);
});

test("a forced write survives without the earlier writes to the same sector", () => {
  const writes = [1, 2, 3].map((value, index) => {
    return { atNs: index, offset: 0, bytes: Buffer.alloc(sector, value) };
  });
  const flushes = [{ startedNs: 1, completedNs: 5, first: 1, end: 2 }];
  const recording = { sizeBytes: sectors * sector, writes, flushes };
  assert.equal(valuesAfter(recording, { atNs: 9, keep: "none", seed: 1 })[0], 2);
  assert.equal(valuesAfter(recording, { atNs: 9, keep: "all", seed: 1 })[0], 3);
});

test("some seed reorders writes and some seed tears a write", () => {
  const steps = [{ first: 0, count: 2, value: 1 }, write(3, 2)] as const;
  const outcomes = (keep: Cut["keep"]) =>
    new Set(
      Array.from({ length: 50 }, (_, seed) =>
        valuesAfter(recordingOf(steps), cutOf(steps, keep, seed))
          .slice(0, 4)
          .join(""),
      ),
    );
  assert.ok(outcomes("writes").has("0002"), "the later write without the earlier");
  assert.ok(!outcomes("writes").has("1000"), "whole writes only");
  assert.ok(outcomes("sectors").has("0102"), "half of the earlier with the later");
  assert.ok(outcomes("prefix").has("1000"), "the earlier torn, and nothing later");
  assert.ok(!outcomes("prefix").has("0002"), "never the later without the earlier");
});

test("a block marked as untorn survives whole or not at all", () => {
  const bytes = Buffer.alloc(8 * sector, 1);
  const writes = [{ atNs: 0, offset: 0, bytes }];
  const recording = { sizeBytes: bytes.length, writes, flushes: [] };
  const kept = Array.from({ length: 20 }, (_, seed) => {
    const cut: Cut = { atNs: 1, keep: "sectors", seed };
    const [image] = imagesAfter(recording, [cut], (offset) => offset === 0);
    return [...image!.extents].map((extent) => extent.bytes.length).join();
  });
  assert.deepEqual(new Set(kept), new Set(["", "4096"]));
});

test("the same seed gives the same image", () => {
  const steps = Array.from({ length: 20 }, (_, index) => write(index % sectors, index + 1));
  const once = valuesAfter(recordingOf(steps), cutOf(steps, "sectors", 7));
  assert.deepEqual(valuesAfter(recordingOf(steps), cutOf(steps, "sectors", 7)), once);
});

test("imagesAfter makes the earliest cut first, each from all that precedes the cut", () => {
  const steps = [write(0, 1), "flush", write(1, 2), "flush"] as const;
  const cuts = [35, 15, 5].map((atNs): Cut => ({ atNs, keep: "none", seed: 1 }));
  const seen: unknown[] = [];
  for (const { cut, extents } of imagesAfter(recordingOf(steps), cuts)) {
    const disk = new SparseBytes();
    for (const { offset, bytes } of extents) disk.write(offset, bytes);
    seen.push([cut.atNs, disk.read(0, 1)[0], disk.read(sector, 1)[0]]);
  }
  assert.deepEqual(seen, [
    [5, 0, 0],
    [15, 1, 0],
    [35, 1, 2],
  ]);
});

test("on a disk that ignores flushes a cut loses flushed writes", () => {
  const steps = [write(0, 1), "flush", write(1, 2), "flush"] as const;
  const lying = ignoringFlushes(recordingOf(steps), 20);
  assert.deepEqual(valuesAfter(lying, cutOf(steps, "none")).slice(0, 2), [1, 0]);
});
