/** Removes one guard of threads and flushes at a time, and requires that a test fails. */
import { testMutations } from "../../support/mutation.ts";

const server = "thread-server.ts";
const facts = "error-facts.ts";
const thread = "thread.test.ts";

testMutations([
  {
    guard: "a thread ends after its last answer",
    edits: [[server, "if (open.size > 0) await allAnswered.promise;", ""]],
    test: thread,
    only: "^close waits until",
  },
  {
    guard: "the causes of an error are bounded",
    edits: [[facts, "cause !== undefined && causes > 0", "cause !== undefined"]],
    test: thread,
    only: "^facts of any error",
  },
  {
    guard: "the facts of an error can be cloned",
    edits: [
      [
        facts,
        'if (typeof value === "string" || typeof value === "number")',
        "if (value !== undefined)",
      ],
    ],
    test: thread,
    only: "^facts of any error",
  },
  {
    guard: "a path that cannot be examined leaves the others their flush",
    edits: [["sync-by-device.ts", "= examined(path)", "= nearestDirectory(path)"]],
    test: "sync-by-device.test.ts",
    only: "^a path in a loop",
  },
]);
