/** The next write as a table: the decision for each situation of log and queue. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type NextWrite, nextWrite, type WriteSituation } from "./next-write.ts";

const nothing: WriteSituation = {
  mode: "accepting",
  frame: undefined,
  marks: undefined,
  areMarksDue: false,
};

const cases: readonly (readonly [claim: string, Partial<WriteSituation>, NextWrite])[] = [
  ["without frames and marks the writer is idle", {}, "idle"],
  ["a frame that fits is written", { frame: "here" }, "frame"],
  ["a frame is written into the next segment", { frame: "next" }, "frame"],
  [
    "a frame takes waiting marks along",
    { frame: "here", marks: "here", areMarksDue: true },
    "frame",
  ],
  ["a frame without room is refused", { frame: "full" }, "refuse"],
  ["a refused frame does not wait for marks", { frame: "full", marks: "here" }, "refuse"],
  ["a frame that must wait waits for a spare", { frame: "wait" }, "spare"],
  ["marks that are not due wait for a frame", { marks: "here" }, "idle"],
  ["marks that are due are written", { marks: "here", areMarksDue: true }, "marks"],
  [
    "marks are written before a frame that waits for room",
    { frame: "wait", marks: "next" },
    "marks",
  ],
  ["marks that are due wait for a spare", { marks: "wait", areMarksDue: true }, "spare"],
  [
    "marks that no segment can take wait for the retry",
    { marks: "full", areMarksDue: true },
    "idle",
  ],
  [
    "while opening, marks that no segment can take are refused",
    { mode: "opening", marks: "full", areMarksDue: true },
    "refuse",
  ],
  ["while opening, frames are written", { mode: "opening", frame: "here" }, "frame"],
  [
    "after a second failed write the repair comes first",
    { mode: "repairing", frame: "here" },
    "repair",
  ],
  [
    "between a failed repair and its retry nothing is written",
    { mode: "failing", frame: "here", marks: "here", areMarksDue: true },
    "idle",
  ],
];

for (const [claim, situation, expected] of cases) {
  test(claim, () => assert.equal(nextWrite({ ...nothing, ...situation }), expected));
}
