import assert from "node:assert/strict";
import { test } from "node:test";
import { guarded } from "./guarded.ts";

test("an error that a listener throws becomes a warning of the process", (t) => {
  const warn = t.mock.method(process, "emitWarning", () => {});
  const fault = new Error("the log is full");
  const report = guarded<string>((event) => {
    throw event === "plain" ? event : fault;
  });
  report("error");
  report("plain");
  guarded(undefined)("no listener");
  assert.deepEqual(
    warn.mock.calls.map((call) => call.arguments[0]),
    [fault, "plain"],
  );
});
