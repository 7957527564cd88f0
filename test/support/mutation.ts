/**
 * The mutation harness: takes one guard (a check, a sync) out of a copy of the sources and requires
 * that a test fails. A guard whose absence no test notices need not be there.
 *
 * Sources and tests are named by the unique end of their path: `claims.ts`, `sqlite/claim.ts`. A
 * move therefore changes no mutation. Each edit replaces a text that must occur exactly once, so
 * that a mutation fails when its guard was reworded.
 *
 * Environment: POSTBAG_MUTATIONS=check only checks that every edit fits its source and that every
 * test file exists. `test/repo/mutations.test.ts` does this in a second in each run of the tests.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, globSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { temporaryDirectory } from "./temporary.ts";

export type Edit = readonly [file: string, from: string, to: string];

export interface Mutation {
  /** Name of the guard, in the name of the test. */
  readonly guard: string;
  /** The edits that remove the guard. */
  readonly edits: readonly Edit[];
  /** The test file in which a test must fail, or several files, in one of which a test must. */
  readonly test: string | readonly string[];
  /** Pattern of the test names to run. @defaultValue all tests of the files */
  readonly only?: string | undefined;
}

export interface MutationRunOptions {
  /** Pattern of test names that are never run, because they start programs of their own. */
  readonly except?: string;
  /** Environment of the test run. */
  readonly env?: Readonly<Record<string, string>>;
  /** Runs the files in one process, quicker than a process for each. @defaultValue false */
  readonly inOneProcess?: boolean;
}

const root = join(import.meta.dirname, "../..");

/** The folders that the tests need. */
const parts = ["src", "test", "package.json"];

const isCheckOnly = process.env.POSTBAG_MUTATIONS === "check";
const sources = globSync(["src/**/*.ts", "test/**/*.ts"], { cwd: root });

/** Declares a test for each mutation, which prints the removed guard and the test that failed. */
export function testMutations(
  mutations: readonly Mutation[],
  options: MutationRunOptions = {},
): void {
  const copy = isCheckOnly ? root : copyOfTheSources();
  for (const mutation of mutations) {
    const { guard, only } = mutation;
    const edits = mutation.edits.map(([file, ...texts]) => [pathOf(file), ...texts] as const);
    const tests = [mutation.test].flat().map(pathOf);
    test(`a test fails without: ${guard}`, async (t) => {
      const originals = new Map<string, string>();
      const changed = new Map<string, string>();
      for (const [path, from, to] of edits) {
        const source = changed.get(path) ?? readFileSync(join(root, path), "utf8");
        assert.equal(source.split(from).length, 2, `exactly one place in ${path} reads: ${from}`);
        if (!originals.has(path)) originals.set(path, source);
        changed.set(
          path,
          source.replace(from, () => to),
        );
      }
      if (isCheckOnly) return;
      try {
        for (const [path, source] of changed) writeFileSync(join(copy, path), source);
        const red = await firstFailure(copy, tests, only, options);
        assert.ok(red !== undefined, `no test of ${tests.join(", ")} failed without: ${guard}`);
        t.diagnostic(`removed: ${guard}; failed: ${red}`);
      } finally {
        for (const [path, source] of originals) writeFileSync(join(copy, path), source);
      }
    });
  }
}

/** The one file whose path ends with these segments. */
function pathOf(name: string): string {
  const found = sources.filter((path) => path === name || path.endsWith(`/${name}`));
  assert.equal(
    found.length,
    1,
    `one source is called ${name}; found ${found.join(", ") || "none"}`,
  );
  return found[0]!;
}

function copyOfTheSources(): string {
  const copy = temporaryDirectory({ after }, "mutation");
  for (const part of parts) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

/**
 * Runs test files and resolves with the name of the first test that fails by an assertion or an
 * error of its own. A file that cannot start is no failed test, but a fault of the mutation.
 */
async function firstFailure(
  directory: string,
  files: readonly string[],
  only: string | undefined,
  { except, env, inOneProcess = false }: MutationRunOptions,
): Promise<string | undefined> {
  const flags = [
    "--test-reporter=tap",
    "--test-timeout=60000",
    "--test-force-exit",
    ...(inOneProcess ? ["--test-isolation=none"] : []),
    ...(only === undefined ? [] : [`--test-name-pattern=${only}`]),
    ...(except === undefined ? [] : [`--test-skip-pattern=${except}`]),
  ];
  const child = spawn(process.execPath, ["--test", ...flags, ...files], {
    cwd: directory,
    stdio: ["ignore", "pipe", "ignore"],
    env: {
      ...cleanEnvironment(),
      NODE_COMPILE_CACHE: join(directory, "compile-cache"),
      ...env,
    },
  });
  let output = "";
  let ended: "killed" | "late" | undefined;
  const end = (reason: "killed" | "late") => {
    ended ??= reason;
    child.kill("SIGKILL");
  };
  const limit = setTimeout(() => end("late"), 90_000);
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    // Test files in processes of their own may have started programs that only they can end.
    if (inOneProcess && failureIn(output) !== undefined) end("killed");
  });
  const [code] = (await once(child, "close")) as [number | null];
  clearTimeout(limit);
  if (ended === "late") return "a run that did not end";
  const failed = failureIn(output);
  const ran = [...output.matchAll(/^ *(?:not )?ok \d+ - (.*)$/gm)].map(([, name]) => name!);
  assert.ok(
    ran.some((name) => !name.endsWith(".test.ts")),
    `a test of ${files.join(", ")} is called ${only}`,
  );
  assert.ok(code === 0 || failed !== undefined, "a test failed, and did not merely fail to start");
  return failed;
}

function failureIn(report: string): string | undefined {
  return [...report.matchAll(/^ *not ok \d+ - (.*)$/gm)]
    .map(([, name]) => name!)
    .find((name) => !name.endsWith(".test.ts"));
}

/** A test runner started by a test runner would report to it instead of to its output. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const { NODE_TEST_CONTEXT: _, ...rest } = process.env;
  return rest;
}
