import assert from "node:assert/strict";
import { test } from "node:test";
import { SimClock } from "../../test/support/sim-clock.ts";
import { createNameSource, sizesInName } from "./index.ts";
import { crlfSizeOf, escapeHost, joinName, splitName } from "./name.ts";

const random = Buffer.from("0123456789abcdef", "hex");

test("a name holds the time, the host, the size and the CRLF size", () => {
  const clock = new SimClock({ wallTimeMs: 1_767_225_600_123 });
  const names = createNameSource({ clock, host: "mx.example", random });
  assert.equal(names.next(20), "1767225600.M123000R0123456789abcdefQ1.mx.example,S=20");
  assert.equal(names.next(20, 22), "1767225600.M123000R0123456789abcdefQ2.mx.example,S=20,W=22");
});

test("names never repeat: within an instant, after a clock step back, after a restart", () => {
  let wallTimeMs = 1_767_225_600_000;
  const clock = Object.assign(new SimClock(), { wallTimeMs: () => wallTimeMs });
  const seen = new Set<string>();
  let given = 0;
  for (let start = 0; start < 20; start += 1) {
    const names = createNameSource({ clock, host: "mx" });
    for (let step = 0; step < 100; step += 1) {
      wallTimeMs += [0, 1, -1000, 0][step % 4]!;
      seen.add(names.next(1));
      given += 1;
    }
  }
  assert.equal(seen.size, given);
});

test("any host name is escaped and cut so that it fits a file name", () => {
  assert.equal(escapeHost("a/b:c"), "a\\057b\\072c");
  assert.equal(escapeHost("a,b c\0"), "a\\054b\\040c\\000");
  assert.equal(escapeHost("ä"), "\\303\\244");
  assert.equal(escapeHost(""), "localhost");
  const long = createNameSource({ clock: new SimClock(), host: "/".repeat(1000) }).next(2 ** 50);
  assert.ok(Buffer.byteLength(`${long}:2,DFPRSTabcdefgh.again`) < 256);
});

test("isOwn recognises the names of its own source and no others", () => {
  const clock = new SimClock();
  const [mine, other] = [createNameSource({ clock }), createNameSource({ clock })];
  assert.ok(mine.isOwn(`${mine.next(1)}:2,S`));
  assert.ok(!mine.isOwn(other.next(1)));
  assert.ok(!mine.isOwn("1767225600.M0P1.host"));
});

test("names of other programs are split into id, flags and sizes", () => {
  assert.deepEqual(splitName("123.M4P5.host,S=10:2,FS"), {
    id: "123.M4P5.host,S=10",
    flags: "FS",
  });
  assert.deepEqual(splitName("123.M4P5.host"), { id: "123.M4P5.host", flags: "" });
  assert.deepEqual(splitName("123.host:1,experimental"), { id: "123.host", flags: "" });
  assert.equal(joinName("123.host", "FS"), "123.host:2,FS");
  assert.deepEqual(sizesInName("1.h,S=10,W=12:2,S"), { size: 10, crlfSize: 12 });
  assert.deepEqual(sizesInName("1.h,W=12"), { size: undefined, crlfSize: 12 });
  assert.deepEqual(sizesInName("1.h,S=x"), { size: undefined, crlfSize: undefined });
});

test("the CRLF size counts one more byte for every bare LF", () => {
  const sizes = ["", "\n", "a\r\nb\n", "\r\n\r\n", "\n\n", "a\rb"].map((text) =>
    crlfSizeOf(Buffer.from(text)),
  );
  assert.deepEqual(sizes, [0, 2, 6, 4, 4, 3]);
  const window = new Uint8Array(Buffer.from("x\ny")).subarray(1);
  assert.equal(crlfSizeOf(window), 3, "a view into a larger buffer");
});
