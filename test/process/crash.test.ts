/**
 * `postbag serve` as a process that is killed, stopped, started twice, or out of resources: no
 * acknowledged mail is lost. Disks that fail are in test/slow/root.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../support/temporary.ts";
import { Client, sendMessage } from "./support/client.ts";
import { countStored, startLoad } from "./support/load.ts";
import { assertNothingLost, hello, limited, mailboxes } from "./support/load-server.ts";
import { run, serve } from "./support/postbag.ts";

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
