/**
 * The generated pages of docs/reference are up to date, and docs/reference/log-lines.md lists every
 * log message. documents.test.ts checks the hand-written pages.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { stalePages } from "../../scripts/reference.ts";

const root = join(import.meta.dirname, "../..");

test("the generated reference pages are what scripts/reference.ts writes", () => {
  assert.deepEqual(stalePages(), []);
});

test("docs/reference/log-lines.md lists every log message of the sources, and no other", () => {
  const page = readFileSync(join(root, "docs/reference/log-lines.md"), "utf8");
  const listed = new Map(
    [...page.matchAll(/^\| `([^`]+)` \| ([a-z, ]+) \|/gm)].map(
      ([, message = "", levels = ""]) => [message, levels] as const,
    ),
  );
  const logged = globSync("src/**/*.ts", { cwd: root, exclude: ["**/*.test.ts"] }).flatMap((file) =>
    logMessages(readFileSync(join(root, file), "utf8"), file),
  );
  assert.deepEqual([...listed.keys()].sort(), [...new Set(logged.map(([, text]) => text))].sort());
  for (const [level, message] of logged) {
    if (level === undefined) continue;
    const levels = listed.get(message)?.split(", ") ?? [];
    assert.ok(levels.includes(level), `"${message}" is logged as ${level}; listed as ${levels}`);
  }
});

type LogMessage = readonly [level: string | undefined, message: string];

/**
 * The messages of `log.warn(fields, "message")` and of `{ level: "warn", message: "message" }`. A
 * computed level is `undefined`; the computed parts of a template are an ellipsis.
 */
function logMessages(source: string, file: string): LogMessage[] {
  const found: LogMessage[] = [];
  for (const { 0: head, 1: level, index } of source.matchAll(
    /\blog(?:\.(debug|info|warn|error|fatal)|\[[^\]]*\])\(/g,
  )) {
    const call = argumentsFrom(source, index + head.length);
    if (/, message$/.test(call)) continue; // The message is a literal of another room.
    const message = /(?:^|,\s*)"([^"]+)",?\s*$/.exec(call)?.[1];
    assert.ok(message, `${file}: a log call ends with a literal message; found log(${call})`);
    found.push([level, message]);
  }
  for (const [, level, , message = ""] of source.matchAll(
    /level: "(\w+)",\s*message:\s*(["`])([^"`]+)\2/g,
  )) {
    found.push([level, message.replace(/\$\{[^}]*\}/g, "…")]);
  }
  return found;
}

/**
 * The text from `start` to the parenthesis that closes the one before `start`. No literal in it may
 * contain a parenthesis.
 */
function argumentsFrom(source: string, start: number): string {
  let depth = 1;
  for (let at = start; at < source.length; at++) {
    if (source[at] === "(") depth += 1;
    if (source[at] === ")") depth -= 1;
    if (depth === 0) return source.slice(start, at).trim();
  }
  return assert.fail("a call is not closed");
}
