/** The fsync calls of a server before it is ready, observed with strace(1). */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { entry, serve } from "../../process/support/postbag.ts";
import { temporaryDirectory } from "../../support/temporary.ts";

test("the directories down to the mail root are synced before the server is ready", async (t) => {
  const calls = "trace=fsync,write";
  if (spawnSync("strace", ["-e", calls, "true"]).status !== 0) return t.skip("needs strace");
  const folder = temporaryDirectory(t);
  const data = join(folder, "new", "data");
  const trace = join(folder, "trace");
  // With -D the server is the child process, not strace, so that signals reach the server.
  const strace = ["strace", "-D", "-f", "-y", "-e", calls, "-o", trace] as const;
  const server = await serve(t, data, [], { command: [...strace, process.execPath, entry] });
  await server.stop();
  const seen = readFileSync(trace, "utf8");
  const readyAt = seen.indexOf('"Postbag ');
  assert.ok(readyAt > 0, seen);
  for (const path of [join(data, "mail"), data, dirname(data), folder]) {
    const flushedAt = seen.indexOf(`<${path}>) = 0`);
    assert.ok(flushedAt > 0 && flushedAt < readyAt, `${path} in\n${seen}`);
  }
});
