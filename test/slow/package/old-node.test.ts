/**
 * An import of a room of the package by a Node that is too old fails with one line that names the
 * needed Node. Uses a Node below 24 from the PATH, and is skipped without one. `pack.test.ts` tests
 * the line of the command `postbag`.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, symlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import { after, before, test } from "node:test";
import { temporaryDirectory } from "../../support/temporary.ts";

const root = join(import.meta.dirname, "../../..");
const minNode = 24;
const needed = new RegExp(`Postbag needs Node ${minNode} or newer; this is \\d+\\.\\d+\\.\\d+\\.`);

const oldNode = (process.env.PATH ?? "")
  .split(delimiter)
  .map((folder) => join(folder, "node"))
  .find((program) => {
    const { status, stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
    return status === 0 && Number.parseInt(stdout.slice(1), 10) < minNode;
  });
const skip = oldNode === undefined && `needs a Node older than ${minNode} on the PATH`;
const folder = temporaryDirectory({ after }, "old-node");

before(() => {
  if (skip) return;
  const outDir = join(folder, "dist");
  const build = ["-p", join(root, "tsconfig.build.json"), "--outDir", outDir];
  const { status, stdout } = spawnSync(join(root, "node_modules/.bin/tsc"), build, {
    encoding: "utf8",
  });
  assert.equal(status, 0, stdout);
  cpSync(join(root, "package.json"), join(folder, "package.json"));
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
});

function runOld(...args: string[]) {
  assert.ok(oldNode !== undefined);
  return spawnSync(oldNode, args, { cwd: folder, encoding: "utf8" });
}

for (const room of ["system", "maildir", "delivery", "outbox", "smtp"]) {
  test(`an import of postbag/${room} on an old Node names the Node it needs`, { skip }, () => {
    const script = `import("./dist/${room}/index.js").catch(({ code, message }) => console.log(code, message))`;
    const { stdout, stderr } = runOld("--input-type=module", "--eval", script);
    assert.match(stdout, /^ERR_SYSTEM_NODE_VERSION /, stderr);
    assert.match(stdout, needed);
    assert.equal(stdout.trim().split("\n").length, 1, stdout);
  });
}

for (const room of ["batcher", "mail"]) {
  test(`postbag/${room} is imported on an old Node`, { skip }, () => {
    const { status, stderr } = runOld(
      "--input-type=module",
      "--eval",
      `import "./dist/${room}/index.js"`,
    );
    assert.equal(status, 0, stderr);
  });
}
