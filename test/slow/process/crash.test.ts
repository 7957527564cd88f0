/**
 * `postbag serve` as a process, continued from `test/process/crash.test.ts`: further ways to stop it, and
 * a journal that cannot be created or written.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Client, sendMessage } from "../../process/support/client.ts";
import { startLoad } from "../../process/support/load.ts";
import { assertNothingLost, hello, limited, mailboxes } from "../../process/support/load-server.ts";
import { serve } from "../../process/support/postbag.ts";
import { temporaryDirectory } from "../../support/temporary.ts";

test("kill -9 under load with synced commits leaves nothing to recover", async (t) => {
  const server = await serve(t, join(temporaryDirectory(t), "data"), ["--commit", "synced"]);
  const load = startLoad([server.smtpPort, server.lmtpPort], mailboxes);
  await load.reached(100);
  await server.stop("SIGKILL");
  await load.ended;
  assertNothingLost(server, load);
  const left = readdirSync(server.data).filter((name) => !name.startsWith("outbox.db"));
  assert.deepEqual(left.sort(), ["lock", "mail", "spool"]);
});

test("at SIGINT an idle session gets 421 and does not delay the exit", async (t) => {
  const server = await serve(t, join(temporaryDirectory(t), "data"));
  const client = await Client.open(server.smtpPort);
  await client.ask("EHLO test");
  const ended = server.stop("SIGINT");
  assert.match((await client.reply()) ?? "", /^421 4\.3\.2 /);
  assert.equal((await ended).code, 0);
});

test("a client that stalls in DATA is cut off after shutdownMs and logged", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const server = await serve(t, data, ["--shutdown-ms", "300"]);
  const client = await Client.open(server.smtpPort);
  await client.begin();
  client.send("Subject: never ends\r\n");
  const { code, stderr } = await server.stop("SIGTERM");
  assert.equal(code, 0);
  assert.match(stderr, /"messages":1,.*stopped at the time limit/);
});

test("a second signal after a second ends the server at once", async (t) => {
  const server = await serve(t, join(temporaryDirectory(t), "data"));
  const client = await Client.open(server.smtpPort);
  await client.begin();
  const ended = server.stop("SIGTERM");
  const again = setInterval(() => process.kill(server.pid, "SIGTERM"), 100);
  t.after(() => clearInterval(again));
  const { code } = await ended;
  clearInterval(again);
  assert.equal(code, 1);
});

test("mail gets 4yz while files may not grow, and the process continues", async (t) => {
  // Node ignores SIGXFSZ, so write(2) beyond the limit fails with EFBIG.
  const server = await limited(t, "ulimit -f 8", ["--commit", "synced"]);
  const large = `Subject: x\n\n${"x".repeat(70)}\n`.padEnd(40_000, "large\n");
  assert.match((await sendMessage(server.smtpPort, large)) ?? "", /^45\d /);
  assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
  assert.equal((await server.stop()).code, 0);
});

test("mail gets 451 with a reason in /readyz until the journal can be created", async (t) => {
  if (spawnSync("prlimit", ["--version"]).error) return t.skip("needs prlimit");
  const server = await limited(t, "ulimit -S -f 8");
  for (const port of [server.smtpPort, server.lmtpPort]) {
    assert.match((await sendMessage(port, hello)) ?? "", /^451 4\.3\.0 /);
  }
  const readyz = await fetch(`${server.http}/readyz`);
  assert.equal(readyz.status, 503);
  assert.match(await readyz.text(), /^not ready: The journal in .*journal cannot be opened: EFBIG/);
  assert.match(
    server.stderr(),
    /"reason":"The journal in .*journal not opened; mail gets 451 until/,
  );
  assert.equal(spawnSync("prlimit", ["--pid", `${server.pid}`, "--fsize=unlimited:"]).status, 0);
  await server.logged(/journal opened; mail is accepted/);
  await server.logged(/outbox opened; mail is sent/);
  assert.equal((await fetch(`${server.http}/readyz`)).status, 200);
  assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
  assert.equal((await server.stop()).code, 0);
});

test("mail gets 4yz with a reason in /readyz while the journal cannot be written", async (t) => {
  if (spawnSync("prlimit", ["--version"]).error) return t.skip("needs prlimit");
  const server = await serve(t, join(temporaryDirectory(t), "data"));
  const limit = (bytes: string) =>
    assert.equal(spawnSync("prlimit", ["--pid", `${server.pid}`, `--fsize=${bytes}:`]).status, 0);
  assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
  await server.published();
  limit("4096");
  assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^45\d /);
  await server.logged(/journal writes failed; mail gets 451 until they succeed/);
  const readyz = await (await fetch(`${server.http}/readyz`)).text();
  assert.equal(readyz, "not ready: the disk refuses the journal's writes\n");
  const metrics = await (await fetch(`${server.http}/metrics`)).text();
  assert.match(metrics, /^postbag_journal_accepting 0$/m);
  limit("unlimited");
  await server.logged(/journal writes succeed again; mail is accepted/);
  assert.equal((await fetch(`${server.http}/readyz`)).status, 200);
  assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
  assert.equal((await server.stop()).code, 0);
});
