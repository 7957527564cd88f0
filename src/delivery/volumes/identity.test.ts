/** Which identity files let a volume's missing files count as published. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { recognises } from "./identity.ts";

test("a volume is recognised by its ids and by starts from the frames' to the log's", () => {
  const expected = { journal: "j", volume: "f", starts: 4n };
  assert.equal(recognises({ ...expected }, expected, 6n), true);
  assert.equal(recognises({ ...expected, starts: 6n }, expected, 6n), true);
  assert.equal(recognises(undefined, expected, 6n), false);
  assert.equal(recognises({ ...expected, journal: "k" }, expected, 6n), false);
  assert.equal(recognises({ ...expected, volume: "g" }, expected, 6n), false);
  assert.equal(recognises({ ...expected, starts: 3n }, expected, 6n), false, "an older copy");
  assert.equal(recognises({ ...expected, starts: 7n }, expected, 6n), false, "an older log");
});
