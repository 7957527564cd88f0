/** `postbag bench` as a process: it measures, advises, and removes its files at every end. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { BenchReport } from "../../../src/app/commands/bench/bench.ts";
import { entry, run } from "../../process/support/postbag.ts";
import { temporaryDirectory } from "../../support/temporary.ts";

test("bench measures both commits, advises one and leaves the directory unchanged", async (t) => {
  const data = temporaryDirectory(t);
  writeFileSync(join(data, "mine"), "");
  const { code, stdout, stderr } = await run([
    "bench",
    "--data",
    data,
    "--seconds",
    "0.1",
    "--json",
  ]);
  assert.equal(code, 0, stderr);
  const { rows, flush, advice } = JSON.parse(stdout) as BenchReport;
  assert.deepEqual(new Set(rows.map(({ commit }) => commit)), new Set(["synced", "journal"]));
  for (const row of rows) {
    assert.ok(row.messages >= row.callers && row.perSecond > 0, JSON.stringify(row));
    assert.ok(row.p50Ms > 0 && row.p50Ms <= row.p99Ms, JSON.stringify(row));
    assert.ok(row.batch >= 1 && row.batch <= row.callers, JSON.stringify(row));
  }
  assert.ok(flush.p50Ms > 0 && flush.p50Ms <= flush.p99Ms, JSON.stringify(flush));
  assert.ok(advice.commit === "synced" || advice.commit === "journal");
  assert.deepEqual(readdirSync(data), ["mine"]);
});

test("a signal ends bench early and its files are removed", async (t) => {
  const folder = temporaryDirectory(t);
  const data = join(folder, "not", "there");
  const made = watch(folder);
  const args = [entry, "bench", "--data", data, "--seconds", "3000"];
  const child = spawn(process.execPath, args, { stdio: "ignore" });
  const ended = once(child, "exit");
  await Promise.race([once(made, "change"), ended]);
  made.close();
  child.kill("SIGTERM");
  assert.deepEqual(await ended, [1, null]);
  assert.deepEqual(readdirSync(folder), []);
});

test("bench refuses the folder of another bench, a file, and zero seconds", async (t) => {
  const folder = temporaryDirectory(t);
  const file = join(folder, "file");
  writeFileSync(file, "");
  mkdirSync(join(folder, "postbag-bench"));
  const taken = await run(["bench", "--data", folder, "--seconds", "1"]);
  assert.equal(taken.code, 73);
  assert.match(taken.stderr, /postbag-bench exists: another bench is running there, or was killed/);
  assert.equal((await run(["bench", "--data", file, "--seconds", "1"])).code, 73);
  const none = await run(["bench", "--data", folder, "--seconds", "0"]);
  assert.equal(none.code, 64);
  assert.match(none.stderr, /must be a number above 0/);
});
