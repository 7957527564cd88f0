import assert from "node:assert/strict";
import { test } from "node:test";
import { optionChecks } from "./check-options.ts";

class RoomError extends Error {
  override readonly name = "RoomError";
}

const { wholeNumber, oneOf, refusal } = optionChecks((text) => new RoomError(text));

test("a number out of range is refused with the room's error and the value received", () => {
  const refused: [unknown, string][] = [
    [-5, "-5"],
    [0, "0"],
    [1.5, "1.5"],
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "Infinity"],
    [2 ** 60, "1152921504606847000"],
    ["8", '"8"'],
    [8n, "8n"],
    [undefined, "undefined"],
  ];
  for (const [value, shown] of refused) {
    assert.throws(() => wholeNumber("maxItems", value), {
      name: "RoomError",
      message: `maxItems must be a whole number from 1 up; got ${shown}.`,
    });
  }
});

test("a whole number is accepted from its minimum to its maximum, both included", () => {
  for (const value of [2, 3, 4]) wholeNumber("segments", value, 2, 4);
  for (const value of [1, 5]) {
    assert.throws(() => wholeNumber("segments", value, 2, 4), {
      message: `segments must be a whole number from 2 to 4; got ${value}.`,
    });
  }
  wholeNumber("waitMs", 0, 0);
});

test("a word outside the list is refused with the list, without undefined", () => {
  for (const value of ["lf", "crlf", undefined]) oneOf("endings", value, ["lf", "crlf", undefined]);
  assert.throws(() => oneOf("endings", "cr", ["lf", "crlf", undefined]), {
    message: 'endings must be "lf" or "crlf"; got "cr".',
  });
});

test("a received object is shown on one line, and only its upper levels", () => {
  assert.equal(
    refusal("pollMs", "two numbers", [{ a: { b: { c: 1 } } }, "x"]).message,
    "pollMs must be two numbers; got [ { a: [Object] }, 'x' ].",
  );
});
