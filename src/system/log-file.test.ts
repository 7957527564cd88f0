/**
 * What a log needs of the real disk: positioned synchronous writes, and a lock that ends with its
 * process.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../test/support/temporary.ts";
import { nodeFileSystem } from "./index.ts";

const { openForLog, openForReading, writeAt, readAt, lock, close } = nodeFileSystem;

test("bytes are written and read at a position; bytes around them stay", async (t) => {
  const path = join(temporaryDirectory(t, "log-file"), "log");
  writeFileSync(path, "0123456789");
  const file = openForLog(path);
  await writeAt(file, Buffer.from("ABC"), 4);
  close(file);
  assert.equal(readFileSync(path, "latin1"), "0123ABC789");
  const reading = openForReading(path);
  const into = Buffer.alloc(4);
  assert.equal(readAt(reading, into, 3), 4);
  assert.equal(into.toString(), "3ABC");
  assert.equal(readAt(reading, into, 8), 2);
  assert.equal(readAt(reading, into, 10), 0);
  close(reading);
});

test("a short write fails", async (t) => {
  const path = join(temporaryDirectory(t, "log-file"), "log");
  writeFileSync(path, "");
  const program = `
    import { nodeFileSystem } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))};
    const file = nodeFileSystem.openForLog(process.argv[1]);
    await nodeFileSystem.writeAt(file, Buffer.alloc(64 * 1024, 1), 0).then(
      () => console.log("written"),
      (error) => console.log(error.code + " " + error.message));`;
  // No file may grow beyond 32 KiB or 64 blocks, so the kernel writes that much and says so.
  const command = 'ulimit -f 32 && exec "$0" --input-type=module -e "$1" "$2"';
  const answer = execFileSync("sh", ["-c", command, process.execPath, program, path], {
    encoding: "utf8",
    env: { ...process.env, NODE_COMPILE_CACHE: "" },
  });
  assert.match(answer, /^EIO .*short write/);
});

test("a lock excludes this process and others until its release", async (t) => {
  const path = join(temporaryDirectory(t, "log-file"), "lock");
  const unlock = lock(path);
  assert.throws(() => lock(path), { code: "EAGAIN" });
  assert.equal(await otherProcess(path), "EAGAIN\n");
  unlock();
  unlock();
  assert.equal(await otherProcess(path), "locked\n");
  lock(path)();
});

test("a lock ends with its process, also by kill -9", async (t) => {
  const path = join(temporaryDirectory(t, "log-file"), "lock");
  const child = spawn(process.execPath, ["--input-type=module", "-e", holder, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  assert.throws(() => lock(path), { code: "EAGAIN" });
  child.kill("SIGKILL");
  await once(child, "close");
  lock(path)();
});

test("a lock file that cannot be created fails with the error of SQLite", (t) => {
  const path = join(temporaryDirectory(t, "log-file"), "missing", "lock");
  assert.throws(() => lock(path), /unable to open/);
});

const holder = `
  import { nodeFileSystem } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))};
  try {
    nodeFileSystem.lock(process.argv[1]);
    console.log("locked");
  } catch (error) {
    console.log(error.code);
  }
  process.stdin.resume();`;

async function otherProcess(path: string): Promise<string> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", holder, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.end();
  let answer = "";
  for await (const piece of child.stdout.setEncoding("utf8")) answer += piece;
  return answer;
}
