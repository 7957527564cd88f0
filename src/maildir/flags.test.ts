import assert from "node:assert/strict";
import { test } from "node:test";
import { areFlags } from "./flags.ts";
import { addFlags, parseFlags, removeFlags, serializeFlags } from "./index.ts";

test("flags are written in ASCII order, each once", () => {
  assert.equal(addFlags("", "SFS"), "FS");
  assert.equal(addFlags("S", "DFPRST"), "DFPRST");
  assert.deepEqual(parseFlags("SRS"), { letters: ["R", "S"], tail: "" });
});

test("unknown flag letters and the tail of another program stay", () => {
  assert.equal(addFlags("Sab,S=123", "F"), "FSab,S=123");
  assert.equal(removeFlags("FSab,x", "Fb"), "Sa,x");
  assert.equal(serializeFlags(parseFlags("XYa,1,2")), "XYa,1,2");
});

test("removing an absent flag changes nothing", () => {
  assert.equal(removeFlags("S", "F"), "S");
  assert.equal(removeFlags("", "DFPRST"), "");
});

test("flags are letters and a tail without a slash, colon or NUL", () => {
  assert.deepEqual(["", "FS", "a", "S,x=1"].map(areFlags), [true, true, true, true]);
  assert.deepEqual(["F/S", "2,S:", "S\0", "é", "S,../x", "S T"].map(areFlags), [
    false,
    false,
    false,
    false,
    false,
    false,
  ]);
});
