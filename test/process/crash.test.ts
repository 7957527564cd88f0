/**
 * `postbag serve` as a process that is killed, stopped, started twice, or out of resources: no
 * acknowledged mail is lost. Disks that fail are in test/slow/root.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../support/temporary.ts";
import { Client, sendMessage } from "./support/client.ts";
import { countStored, startLoad } from "./support/load.ts";
import { entry, run, type Server, serve } from "./support/postbag.ts";

const mailboxes = Array.from({ length: 8 }, (_, index) => `user${index}@localhost`);
const hello = "Subject: Hello\n\nIt works.";

/** Requires that each acknowledged message is stored once, each other offered one at most once. */
function assertNothingLost(server: Server, load: ReturnType<typeof startLoad>): void {
  const stored = countStored(server.data, mailboxes);
  for (const number of load.acknowledged) {
    assert.equal(stored.get(number), 1, `message ${number} was acknowledged`);
  }
  for (const [number, count] of stored) {
    assert.ok(load.offered.has(number) && count === 1, `message ${number} is stored ${count}×`);
  }
}

test("after kill -9 under load the next start recovers every acknowledged message", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const first = await serve(t, data);
  const load = startLoad([first.smtpPort, first.lmtpPort], mailboxes);
  await load.reached(300);
  const { signal } = await first.stop("SIGKILL");
  await load.ended;
  assert.equal(signal, "SIGKILL");

  const second = await serve(t, data);
  assertNothingLost(second, load);
  assert.match((await sendMessage(second.smtpPort, hello)) ?? "", /^250 /);
  await second.published();
  assertNothingLost(second, load);
});

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

test("SIGTERM under load answers accepted messages, loses none and exits 0", async (t) => {
  const server = await serve(t, join(temporaryDirectory(t), "data"));
  const load = startLoad([server.smtpPort, server.lmtpPort], mailboxes);
  await load.reached(200);
  const { code, stderr } = await server.stop("SIGTERM");
  load.stop();
  await load.ended;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /"msg":"stopped"/);
  assertNothingLost(server, load);
  const stored = countStored(server.data, mailboxes);
  assert.equal(stored.size, load.acknowledged.size, "each stored message was acknowledged");
  assert.deepEqual(
    [...load.refusals.keys()].filter((reply) => !reply.startsWith("421 ")),
    [],
  );
  for (const mailbox of readdirSync(join(server.data, "mail/localhost"))) {
    assert.deepEqual(readdirSync(join(server.data, "mail/localhost", mailbox, "tmp")), []);
  }
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

test("a second server on one data directory is refused until the first is killed", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const first = await serve(t, data);
  const none = ["--smtp", "off", "--lmtp", "off", "--http", "off"];
  const { code, stderr } = await run(["serve", "--data", data, ...none]);
  assert.equal(code, 75);
  assert.equal(
    stderr,
    `postbag: Another Postbag (process ${first.pid}) is using ${data}. Stop it first, or give this one its own folder with --data\n`,
  );
  assert.match((await sendMessage(first.smtpPort, hello)) ?? "", /^250 /);
  await first.stop("SIGKILL");
  await serve(t, data);
});

test("the death of the disk thread ends the process before it answers a message", async (t) => {
  const preload = new URL("./support/end-disk-thread.mjs", import.meta.url);
  const server = await serve(t, join(temporaryDirectory(t), "data"), [], {
    env: { NODE_OPTIONS: `--import=${preload}` },
  });
  const client = await Client.open(server.smtpPort);
  assert.match((await client.begin()) ?? "", /^354/);
  process.kill(server.pid, "SIGUSR2");
  assert.equal(await client.finish(hello), undefined);
  const { code, stderr } = await server.ended;
  assert.equal(code, 70);
  assert.match(stderr, /"level":"fatal".*disk thread died/);
});

/** Runs the server under a resource limit that the shell sets before it, such as `ulimit -n 60`. */
function limited(t: TestContext, limit: string, args: readonly string[] = []): Promise<Server> {
  const command = ["sh", "-c", `${limit}; exec "$@"`, "sh", process.execPath, entry] as const;
  return serve(t, join(temporaryDirectory(t), "data"), args, { command: [...command] });
}

test("mail gets 4yz while too many files are open, and is accepted afterwards", async (t) => {
  const server = await limited(t, "ulimit -n 60");
  const idle: Client[] = [];
  t.after(() => {
    for (const client of idle) client.end();
  });
  const sender = await Client.open(server.smtpPort);
  assert.match((await sender.begin()) ?? "", /^354/);
  // Sessions use up the file descriptors until the server closes a new session without greeting.
  for (let greeting: string | undefined = "220"; greeting !== undefined; ) {
    const client = await Client.open(server.smtpPort);
    idle.push(client);
    greeting = client.greeting;
    assert.ok(idle.length < 100, "the limit was not reached");
  }
  assert.match((await sender.finish(hello)) ?? "", /^45\d 4\./);
  sender.end();
  for (const client of idle) client.end();

  let answer: string | undefined;
  while (!/^250/.test(answer ?? "")) answer = await sendMessage(server.smtpPort, hello);
  assert.equal((await server.stop()).code, 0);
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
