import assert from "node:assert/strict";
import { test } from "node:test";
import { invariant } from "./assert.ts";

test("invariant throws a plain Error with its text when the condition is false", () => {
  for (const condition of [false, undefined, null, 0, ""]) {
    assert.throws(() => invariant(condition, "marks never go back"), {
      name: "Error",
      message: "invariant does not hold: marks never go back",
    });
  }
});

test("invariant narrows the type when the condition is true", () => {
  const first: number | undefined = [1].at(0);
  invariant(first !== undefined, "the list has an element");
  const narrowed: number = first;
  assert.equal(narrowed, 1);
});
