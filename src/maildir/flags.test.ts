import assert from "node:assert/strict";
import { test } from "node:test";
import { areFlags } from "./flags.ts";
import { addFlags, parseFlags, removeFlags, serializeFlags } from "./index.ts";

test("flags are written in ASCII order, each once", () => {
  assert.equal(addFlags("", "SFS"), "FS");
  assert.equal(addFlags("S", "DFPRST"), "DFPRST");
  assert.deepEqual(parseFlags("SRS"), { letters: ["R", "S"], tail: "" });
});

test("letters we do not know and another program's tail are kept", () => {
  assert.equal(addFlags("Sab,S=123", "F"), "FSab,S=123");
  assert.equal(removeFlags("FSab,x", "Fb"), "Sa,x");
  assert.equal(serializeFlags(parseFlags("XYa,1,2")), "XYa,1,2");
});

test("removing what is not there changes nothing", () => {
  assert.equal(removeFlags("S", "F"), "S");
  assert.equal(removeFlags("", "DFPRST"), "");
});

test("only what can stand in a file name is taken for flags", () => {
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
