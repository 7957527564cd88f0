/** `postbag serve` as a process: mail by SMTP and LMTP, log, metrics, and starts that fail. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { createTransport } from "nodemailer";
import { temporaryDirectory } from "../support/temporary.ts";
import { Client, sendMessage } from "./support/client.ts";
import { filesIn, run, serve } from "./support/postbag.ts";

const hello = "Subject: Hello\n\nIt works.";

test("a server with defaults and one more domain", async (t) => {
  const server = await serve(t, join(temporaryDirectory(t), "data"), ["--domain", "example.org"]);

  await t.test("a message sent by nodemailer is complete in the Maildir", async () => {
    const transport = createTransport({ host: "127.0.0.1", port: server.smtpPort, secure: false });
    const body = Array.from({ length: 2_000 }, (_, line) => `.line ${line} é`).join("\n");
    await transport.sendMail({
      from: "me@example.org",
      to: ["You@LOCALHOST", "other@localhost"],
      subject: "Größe",
      text: body,
    });
    transport.close();
    await server.published();

    for (const mailbox of ["localhost/you", "localhost/other"]) {
      const [[name = "", content = ""] = []] = filesIn(server.data, mailbox);
      assert.match(content, /^Return-Path: <me@example\.org>\nDelivered-To: /);
      assert.match(content, /^Received: from /m);
      assert.match(content, /^Subject: =\?UTF-8\?/m);
      assert.ok(!content.includes("\r"));
      assert.equal(Number(/,S=(\d+)/.exec(name)?.[1]), Buffer.byteLength(content));
      assert.match(content, /line 1999/);
    }
  });

  await t.test("LMTP gives each accepted recipient a reply after the message", async () => {
    const client = await Client.open(server.lmtpPort);
    await client.ask("LHLO test");
    await client.ask("MAIL FROM:<>");
    assert.match((await client.ask("RCPT TO:<a@example.org>")) ?? "", /^250/);
    assert.match((await client.ask("RCPT TO:<b@localhost>")) ?? "", /^250/);
    assert.match((await client.ask("RCPT TO:<c@elsewhere.example>")) ?? "", /^550 5\.7\.1 /);
    assert.match((await client.ask("DATA")) ?? "", /^354/);
    client.send("Subject: x\r\n\r\nx\r\n.\r\n");
    assert.match((await client.reply()) ?? "", /^250 /);
    assert.match((await client.reply()) ?? "", /^250 /);
    client.end();
    await server.published();
    assert.equal(filesIn(server.data, "example.org/a").size, 1);
    assert.equal(filesIn(server.data, "localhost/b").size, 1);
  });

  await t.test("the two commands of the banner send a message and show it", async (t) => {
    const [curl = ""] = /^ {2}printf .*$/m.exec(server.stdout()) ?? [];
    const [show = ""] = /^ {2}npx postbag (.*)$/m.exec(server.stdout())?.slice(1) ?? [];
    if (spawnSync("curl", ["--version"]).error) return t.skip("needs curl");
    execFileSync("sh", ["-c", curl], { stdio: "pipe" });
    const shown = await run(show.split(" "));
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /^From: me@example\.org$/m);
    assert.match(shown.stdout, /^Subject: Hello$/m);
    assert.match(shown.stdout, /^It works\.$/m);
  });

  await t.test("healthz and readyz answer ok", async () => {
    for (const path of ["/healthz", "/readyz"]) {
      assert.equal(await (await fetch(server.http + path)).text(), "ok\n", path);
    }
  });

  await t.test("a mailbox path that is a file defers mail for that mailbox only", async () => {
    const { data } = server;
    mkdirSync(join(data, "mail/localhost"), { recursive: true });
    writeFileSync(join(data, "mail/localhost/file"), "precious");
    const answer = await sendMessage(server.smtpPort, hello, { to: "file@localhost" });
    assert.match(answer ?? "", /^451 4\.2\.0 /);
    const other = await sendMessage(server.smtpPort, hello, { to: "other@localhost" });
    assert.match(other ?? "", /^250 /);
    assert.equal(statSync(join(data, "mail/localhost/file")).size, 8);
    assert.equal((await fetch(`${server.http}/readyz`)).status, 200);
  });

  await t.test("malformed addresses are refused and the session continues", async () => {
    const client = await Client.open(server.smtpPort);
    await client.ask("EHLO test");
    assert.match((await client.ask("MAIL FROM:<a@@b>")) ?? "", /^5\d\d 5\./);
    assert.match((await client.ask("MAIL FROM:<a@b.example>")) ?? "", /^250/);
    for (const path of [
      "<@localhost>",
      "<../../etc@local host>",
      "no brackets",
      `<${"x".repeat(300)}@localhost>`,
    ]) {
      assert.match((await client.ask(`RCPT TO:${path}`)) ?? "", /^5\d\d /, path);
    }
    assert.match((await client.ask("RCPT TO:<../../etc@localhost>")) ?? "", /^250/);
    assert.match((await client.ask("DATA")) ?? "", /^354/);
    client.send("Subject: x\r\n\r\nx\r\n.\r\n");
    assert.match((await client.reply()) ?? "", /^250/);
    client.end();
    await server.published();
    assert.equal(filesIn(server.data, "localhost/%2E.%2F..%2Fetc").size, 1);
  });
});

test("with --mailboxes existing only created mailboxes accept mail", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const created = await run(["mailbox", "create", "you@localhost", "--data", data]);
  assert.equal(created.code, 0, created.stderr);
  const server = await serve(t, data, ["--mailboxes", "existing"]);
  assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
  const refused = await sendMessage(server.smtpPort, hello, { to: "nobody@localhost" });
  assert.match(refused ?? "", /^550 5\.1\.1 /);
});

test("an accepted message is counted once and has one complete log line", async (t) => {
  const server = await serve(t, join(temporaryDirectory(t), "data"));
  await sendMessage(server.smtpPort, hello);
  const get = async (path: string) => (await fetch(server.http + path)).text();
  assert.match(await get("/"), /<dt>Delivered<\/dt><dd>1<\/dd>/);
  const metrics = await get("/metrics");
  assert.match(metrics, /^postbag_messages_total\{protocol="smtp",outcome="accepted"\} 1$/m);
  assert.match(metrics, /^postbag_batch_messages_sum 1$/m);
  assert.match(metrics, /^postbag_ready 1$/m);
  const { stderr } = await server.stop();
  const lines = stderr.split("\n").filter((line) => line.includes('"message accepted"'));
  assert.equal(lines.length, 1, stderr);
  const line = JSON.parse(lines[0] ?? "");
  assert.equal(line.from, "sender@example.org");
  assert.deepEqual(line.to, ["you@localhost"]);
  assert.deepEqual(line.mailbox, [join(server.data, "mail/localhost/you")]);
  assert.equal(line.batch, 1);
  assert.equal(line.protocol, "smtp");
  assert.ok(line.size > hello.length && line.durableMs > 0, JSON.stringify(line));
});

test("a disk below minFreeBytes makes the server not ready, with the reason", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const server = await serve(t, data, ["--min-free-bytes", "900000000000000"]);
  const answer = await fetch(`${server.http}/readyz`);
  assert.equal(answer.status, 503);
  assert.match(await answer.text(), /bytes are free for mail/);
});

test("LMTP listens on the path of a UNIX socket that kill -9 left behind", async (t) => {
  const folder = temporaryDirectory(t);
  const socket = join(folder, "lmtp");
  const first = await serve(t, join(folder, "data"), ["--lmtp", socket]);
  assert.ok(statSync(socket).isSocket());
  await first.stop("SIGKILL");
  const second = await serve(t, join(folder, "data"), ["--lmtp", socket]);
  assert.match(second.stdout(), new RegExp(`LMTP +${socket}`));
});

test("an address in use is an error with the flag that chooses another", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  t.after(() => taken.close());
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  for (const name of ["smtp", "lmtp", "http"]) {
    const others = ["smtp", "lmtp", "http"].filter((other) => other !== name);
    const flags = others.flatMap((other) => [`--${other}`, "off"]);
    const data = join(temporaryDirectory(t), "data");
    const { code, stderr } = await run([
      ...["serve", "--data", data, `--${name}`, `127.0.0.1:${port}`],
      ...flags,
    ]);
    assert.equal(code, 69);
    assert.match(
      stderr,
      new RegExp(`^postbag: Cannot listen on 127\\.0\\.0\\.1:${port} for .*--${name}\n$`),
    );
  }
});

test("a data directory that cannot be used is an error of one line with exit code 73", async (t) => {
  const folder = temporaryDirectory(t);
  const file = join(folder, "file");
  writeFileSync(file, "");
  for (const data of [file, join(file, "below")]) {
    const { code, stderr } = await run(["serve", "--data", data]);
    assert.equal(code, 73);
    assert.match(stderr, /^postbag: Cannot use .* as a folder \(E[A-Z]+\): .*--data\n$/);
  }
});

test("a data directory without write permission ends serve with exit code 73", async (t) => {
  const folder = temporaryDirectory(t);
  const data = join(folder, "data");
  mkdirSync(data);
  chmodSync(folder, 0o755);
  chmodSync(data, 0o555);
  // Root may write anywhere, so as root the server runs with the user id 65534.
  const nobody = process.getuid?.() === 0 ? { uid: 65_534 } : {};
  const { code, stderr } = await run(["serve", "--data", data], nobody);
  assert.equal(code, 73, stderr);
  assert.match(stderr, /^postbag: Cannot use .* \(EACCES\): .*--data\n$/);
});
