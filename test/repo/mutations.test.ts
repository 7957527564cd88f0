/**
 * Each mutation of test/slow/mutations fits its source: the text that the mutation replaces occurs
 * exactly once. `npm run test:all` tries whether a test fails under each mutation, which takes
 * minutes.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "../..");

test("every mutation fits its source", () => {
  const files = globSync("test/slow/mutations/*.test.ts", { cwd: root });
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout } = spawnSync(
    process.execPath,
    ["--test", "--test-isolation=none", "--test-reporter=tap", ...files],
    { cwd: root, encoding: "utf8", env: { ...env, POSTBAG_MUTATIONS: "check" } },
  );
  const faults = [...stdout.matchAll(/^ *error: (?:'|\|-\n\s*)(.*)$/gm)].map(([, text]) => text);
  assert.deepEqual(faults, []);
  assert.equal(status, 0, stdout.slice(-2000));
});
