/**
 * `npm start` of a checkout, ended as a service manager ends it (a signal to npm) and as a terminal
 * does (to the process group); and bin/postbag.js started by an old Node.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { atEnd, temporaryDirectory } from "../support/temporary.ts";
import { run } from "./support/postbag.ts";

const root = join(import.meta.dirname, "../..");
const onlySmtp = ["--smtp", "127.0.0.1:0", "--lmtp", "off", "--http", "off"];

/** Starts `npm start` in a process group of its own and waits until it is ready. */
async function npmStart(t: TestContext) {
  const folder = temporaryDirectory(t);
  const data = join(folder, "data");
  const npm = spawn("npm", ["start", "--", "--data", data, ...onlySmtp], {
    cwd: root,
    // npm writes its compile cache into TMPDIR, and the test removes this folder.
    env: { ...process.env, TMPDIR: folder },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  npm.stderr.on("data", (text) => {
    output += text;
  });
  const ended = once(npm, "close");
  atEnd(t, () => {
    if (npm.exitCode === null && npm.signalCode === null) process.kill(-(npm.pid ?? 0), "SIGKILL");
  });
  await new Promise<void>((resolve, reject) => {
    npm.stdout.on("data", (text) => {
      output += text;
      if (/^postbag ready$/m.test(output)) resolve();
    });
    npm.once("close", () => reject(new Error(`npm start ended: ${output}`)));
  });
  return { pid: npm.pid ?? 0, ended: ended.then(([code]) => ({ code, output })) };
}

test("SIGTERM to npm alone ends the server in order with exit 0", async (t) => {
  const npm = await npmStart(t);
  process.kill(npm.pid, "SIGTERM");
  const { code, output } = await npm.ended;
  assert.match(output, /"msg":"stopped"/);
  assert.equal(code, 0, output);
});

test("SIGTERM and SIGINT to the whole process group end it with exit 0", async (t) => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const npm = await npmStart(t);
    process.kill(-npm.pid, signal);
    const { code, output } = await npm.ended;
    assert.match(output, /"msg":"stopped"/);
    assert.equal(code, 0, output);
  }
});

test("in a checkout the command continues on the project's own Node", async (t) => {
  const older = olderNode();
  if (older === undefined) return t.skip("needs a Node below 24 on the PATH");
  const command = [older, join(root, "bin/postbag.js")] as const;
  const { code, stdout } = await run(["--version"], { command: [...command] });
  assert.equal(code, 0);
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  const failed = await run(["srve"], { command: [...command] });
  assert.equal(failed.code, 64);
});

/** The path of a Node below 24 on the PATH, or `undefined`; `node_modules` has a newer one. */
function olderNode(): string | undefined {
  const folders = (process.env.PATH ?? "")
    .split(":")
    .filter((path) => !path.includes("node_modules"));
  return folders
    .map((folder) => join(folder, "node"))
    .find((path) => {
      const { stdout } = spawnSync(path, ["--version"], { encoding: "utf8" });
      return stdout && Number(/^v(\d+)/.exec(stdout)?.[1]) < 24;
    });
}
