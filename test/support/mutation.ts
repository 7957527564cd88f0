/**
 * Makes one mistake at a time in a copy of the sources, and requires that a test goes red: a guard that
 * nobody would miss need not be there.
 *
 * Each mistake replaces texts that must occur exactly once, so that a guard that is rewritten is noticed.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";

export interface Mutation {
  readonly guard: string;
  readonly edits: readonly (readonly [file: string, from: string, to: string])[];
  /** The test file that must go red, and which of its tests are worth running. */
  readonly test: string;
  readonly only?: string;
}

const root = join(import.meta.dirname, "../..");

/** What the tests that are run there need. */
const parts = [
  "src",
  "test/simulation",
  "test/outbox",
  "test/process",
  "test/process-root",
  "test/support",
  "package.json",
];

/** Declares one test for each mistake; it prints which guard was removed and which test went red. */
export function testMutations(mutations: readonly Mutation[]): void {
  for (const { guard, edits, test: file, only } of mutations) {
    test(`without this a test goes red: ${guard}`, async (t) => {
      const copy = copyOfTheHouse(t);
      for (const [path, from, to] of edits) {
        const source = readFileSync(join(copy, path), "utf8");
        assert.equal(source.split(from).length, 2, `exactly one place in ${path} reads: ${from}`);
        writeFileSync(
          join(copy, path),
          source.replace(from, () => to),
        );
      }
      const { code, red } = await run(copy, file, only);
      assert.notEqual(code, 0, `${file} stayed green without: ${guard}`);
      assert.ok(red.length > 0, "a test went red, and did not merely fail to start");
      t.diagnostic(`removed: ${guard}; red: ${red[0]} (${file})`);
    });
  }
}

function copyOfTheHouse(t: TestContext): string {
  const copy = mkdtempSync(join(tmpdir(), "postbag-mutation-"));
  t.after(() => rmSync(copy, { recursive: true }));
  for (const part of parts) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

/** Runs one test file, and lists the tests that failed by an assertion or an error of their own. */
async function run(
  directory: string,
  file: string,
  only: string | undefined,
): Promise<{ readonly code: number; readonly red: readonly string[] }> {
  const pattern = only === undefined ? [] : [`--test-name-pattern=${only}`];
  const child = spawn(
    process.execPath,
    [
      "--test",
      "--test-reporter=tap",
      "--test-timeout=60000",
      "--test-force-exit",
      ...pattern,
      file,
    ],
    { cwd: directory, stdio: ["ignore", "pipe", "ignore"], env: cleanEnvironment() },
  );
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const tooLong = setTimeout(() => child.kill("SIGKILL"), 90_000);
  const [code] = (await once(child, "close")) as [number];
  clearTimeout(tooLong);
  const red = [...output.matchAll(/^ *not ok \d+ - (.*)$/gm)].map(([, name]) => name!);
  return { code, red: red.filter((name) => !name.endsWith(".test.ts")) };
}

/** A test runner started by a test runner would report to it instead of to its output. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const { NODE_TEST_CONTEXT: _, ...rest } = process.env;
  return rest;
}
