/** Postfix as the LMTP client of Postbag: many recipients, mixed replies, kills of Postbag. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { readableDirectory, until } from "../../support/peers/machine.ts";
import { bodyOf, fieldOf, mailIn, sizesOf, textOf } from "../../support/peers/mail-files.ts";
import { Postbag } from "../../support/peers/postbag.ts";
import { postfixDomain as domain, missingPostfix, Postfix } from "../../support/peers/postfix.ts";
import { ReplyDroppingProxy } from "../../support/peers/reply-dropping-proxy.ts";
import { mailNumber, sendAll, storedBody } from "../../support/peers/smtp-sender.ts";

const sender = `sender@${domain}`;
const lack = missingPostfix();

/** Postbag, and Postfix which sends to its LMTP port through a proxy; all end with the test. */
async function pair(t: TestContext, ...postbagArguments: string[]) {
  const directory = readableDirectory("peers");
  const postbag = await Postbag.start({
    data: join(directory.path, "data"),
    domain,
    arguments: postbagArguments,
  });
  const proxy = await ReplyDroppingProxy.start(postbag.lmtpPort);
  const transport = `lmtp:inet:127.0.0.1:${proxy.port}`;
  const postfix = await Postfix.start({ main: { virtual_transport: transport } });
  t.after(async () => {
    await postfix.stop();
    await postbag.stop();
    proxy.close();
    directory.remove();
  });
  return { postbag, postfix, proxy };
}

function makeMailbox(path: string) {
  for (const name of ["new", "cur", "tmp"]) {
    mkdirSync(join(path, name), { recursive: true, mode: 0o700 });
  }
}

test("Postfix sends 50 recipients at a time, and each gets one whole copy", {
  timeout: 60_000,
}, async (t) => {
  if (lack) return t.skip(lack);
  const { postbag, postfix } = await pair(t);
  const users = Array.from({ length: 50 }, (_, index) => `user${index}`);
  const addresses = users.map((user) => `${user}@${domain}`);
  const mails = Array.from({ length: 20 }, (_, index) =>
    mailNumber(`m${index}`, sender, addresses),
  );

  assert.equal((await sendAll(postfix.port, mails, 4)).length, 20);
  await postfix.drained();

  assert.equal(postfix.count("sent"), 1_000, postfix.log());
  await postbag.published();
  for (const user of users) {
    const found = mailIn(postbag.mailbox(user)).map((file) => ({ file, text: textOf(file) }));
    const ids = found.map(({ text }) => fieldOf(text, "X-Test-Id")).sort();
    assert.deepEqual(ids, mails.map((_, index) => `m${index}`).sort(), user);
    for (const { file, text } of found) {
      const mail = mails[Number(fieldOf(text, "X-Test-Id")?.slice(1))]!;
      assert.equal(bodyOf(text), storedBody(mail));
      assert.equal(fieldOf(text, "Delivered-To"), `${user}@${domain}`);
      assert.equal(fieldOf(text, "Return-Path"), `<${sender}>`);
      assert.equal(sizesOf(file.name).disk, text.length);
    }
  }
});

test("Postfix bounces an unknown recipient, retries a deferred one, sends others once", {
  timeout: 60_000,
}, async (t) => {
  if (lack) return t.skip(lack);
  const { postbag, postfix } = await pair(t, "--mailboxes", "existing");
  for (const user of ["alice", "bob", "carol", "sender"]) makeMailbox(postbag.mailbox(user));
  const blocker = join(postbag.mailbox("bob"), "tmp");
  rmSync(blocker, { recursive: true });
  writeFileSync(blocker, "a file in place of tmp/");

  const to = ["alice", "nobody", "bob", "carol"].map((user) => `${user}@${domain}`);
  const mail = mailNumber("mixed", sender, to);
  assert.equal((await sendAll(postfix.port, [mail])).length, 1);

  await until("a first reply to each", () => postfix.count("deferred") > 0);
  await until("only the failing recipient in the queue", async () => {
    const queued = await postfix.queued();
    return queued.length === 1 && queued[0] === `bob@${domain}`;
  });
  await postbag.published();
  assert.equal(mailIn(postbag.mailbox("alice")).length, 1);
  assert.equal(mailIn(postbag.mailbox("carol")).length, 1);

  rmSync(blocker);
  await postfix.drained();
  await postbag.published();
  for (const user of ["alice", "bob", "carol"]) {
    const copies = mailIn(postbag.mailbox(user));
    assert.equal(copies.length, 1, user);
    assert.equal(bodyOf(textOf(copies[0]!)), storedBody(mail));
  }
  const bounces = mailIn(postbag.mailbox("sender")).map(textOf);
  assert.equal(bounces.length, 1);
  assert.deepEqual(bounces[0]!.match(/^Final-Recipient:.*$/gm), [
    `Final-Recipient: rfc822; nobody@${domain}`,
  ]);
  assert.match(bounces[0]!, /^Status: 5\.1\.1$/m);
});

test("kill -9 under load loses nothing, and Postfix's log announces each extra copy", {
  timeout: 60_000,
}, async (t) => {
  if (lack) return t.skip(lack);
  const { postbag, postfix } = await pair(t);
  const to = Array.from({ length: 10 }, (_, index) => `user${index}@${domain}`);
  const mails = Array.from({ length: 120 }, (_, index) => mailNumber(`m${index}`, sender, to));

  const sending = sendAll(postfix.port, mails, 4);
  for (let kill = 0; kill < 4; kill++) {
    const before = postfix.count("sent");
    await until("some deliveries", () => postfix.count("sent") >= before + 50, 10_000).catch(
      () => undefined,
    );
    await pause(kill * 3);
    await postbag.kill();
    await postbag.start();
  }
  assert.equal((await sending).length, mails.length);
  await postfix.drained();

  const log = postfix.log().split("\n");
  let extra = 0;
  await postbag.published();
  for (const address of to) {
    const texts = mailIn(postbag.mailbox(address.split("@")[0]!)).map(textOf);
    for (const mail of mails) {
      const id = fieldOf(mail.text.replaceAll("\r", ""), "X-Test-Id");
      const copies = texts.filter((text) => fieldOf(text, "X-Test-Id") === id);
      assert.ok(copies.length >= 1, `${id} for ${address} is lost`);
      for (const copy of copies) assert.equal(bodyOf(copy), storedBody(mail));
      const queueId = /\(Postfix\) with ESMTP id ([0-9A-Za-z]+)/.exec(copies[0]!)?.[1];
      const announced = log.filter(
        (line) =>
          line.includes(` ${queueId}: to=<${address}>`) &&
          line.includes("may be sent more than once"),
      );
      assert.ok(copies.length <= 1 + announced.length, `${id} for ${address}: ${copies.length}`);
      extra += copies.length - 1;
    }
  }
  t.diagnostic(`${mails.length * to.length} deliveries, 4 kills, ${extra} extra copies`);
});

test("a crash between message and reply makes Postfix resend: two durable copies", {
  timeout: 60_000,
}, async (t) => {
  if (lack) return t.skip(lack);
  const { postbag, postfix, proxy } = await pair(t);
  const mail = mailNumber("unanswered", sender, [`user@${domain}`]);
  const { promise: dropped, resolve } = Promise.withResolvers<void>();
  proxy.dropNextReply(() => resolve());

  assert.equal((await sendAll(postfix.port, [mail])).length, 1);
  await dropped;
  await postbag.published();
  await postbag.kill();
  proxy.disconnect();
  assert.equal(mailIn(postbag.mailbox("user")).length, 1);
  await postbag.start();
  await postfix.drained();

  await postbag.published();
  const copies = mailIn(postbag.mailbox("user"));
  assert.equal(copies.length, 2);
  for (const copy of copies) assert.equal(bodyOf(textOf(copy)), storedBody(mail));
  assert.match(postfix.log(), /may be sent more than once/);
});
