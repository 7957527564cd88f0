/**
 * IMAP clients of a real Dovecot move, flag and delete mail while Postbag delivers through its journal,
 * is killed with -9 under load and started again, 20 times; POSTBAG_KILL_CYCLES=200 makes it longer.
 */
import assert from "node:assert/strict";
import { chownSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Dovecot, missingDovecot } from "../../support/peers/dovecot.ts";
import { ImapClient } from "../../support/peers/imap-client.ts";
import { temporaryDirectory, until } from "../../support/peers/machine.ts";
import { bodyOf, fieldOf, mailIn, textOf } from "../../support/peers/mail-files.ts";
import { Postbag } from "../../support/peers/postbag.ts";
import { mailNumber, SmtpSender, storedBody } from "../../support/peers/smtp-sender.ts";

const cycles = Number(process.env.POSTBAG_KILL_CYCLES ?? 20);
const messagesPerCycle = 40;
const senders = 6;
const domain = "example.test";
const people = ["ann", "bob", "cid"];
/** Dovecot reads mail for no root. */
const nobody = 65_534;

/** What became of each message, by the id it carries. */
class Account {
  offered = 0;
  readonly acknowledged = new Set<string>();
  readonly deleted = new Set<string>();
  readonly #arrived = new Set<string>();

  /** A message is new in an INBOX. */
  arrived(id: string): void {
    assert.ok(!this.#arrived.has(id), `${id} was delivered twice, or came back`);
    this.#arrived.add(id);
  }
}

/** Reads one person's mail: some stays, some is flagged, moved, moved back, or deleted. */
async function readMail(
  imap: ImapClient,
  account: Account,
  isOver: () => boolean,
): Promise<Set<string>> {
  let nextUid = 1;
  for (;;) {
    const wasOver = isOver();
    await imap.ask("NOOP");
    const arrived = await idsFrom(nextUid, imap);
    for (const [uid, id] of arrived) {
      nextUid = uid + 1;
      account.arrived(id);
      await dealWith(uid, id, imap, account);
    }
    if (arrived.length > 0) continue;
    if (wasOver) break;
    await pause(50);
  }
  const kept = new Set<string>();
  for (const folder of ["INBOX", "Archive"]) {
    await imap.ask(`SELECT ${folder}`);
    for (const [, id] of await idsFrom(1, imap)) {
      assert.ok(!kept.has(id), `${id} is there twice`);
      kept.add(id);
    }
  }
  return kept;
}

async function dealWith(uid: number, id: string, imap: ImapClient, account: Account) {
  switch (Number(id.slice(1)) % 6) {
    case 0:
      account.deleted.add(id);
      await imap.ask(`UID STORE ${uid} +FLAGS (\\Deleted)`);
      await imap.ask(`UID EXPUNGE ${uid}`);
      return;
    case 1:
      await imap.ask(`UID MOVE ${uid} Archive`);
      return;
    case 2:
      await imap.ask(`UID STORE ${uid} +FLAGS (\\Seen \\Flagged)`);
      return;
    case 3:
      await imap.ask(`UID STORE ${uid} +FLAGS (\\Answered)`);
      await imap.ask(`UID MOVE ${uid} Archive`);
      return;
    case 4: {
      // Copied to the archive, and the original removed, as older clients move mail.
      await imap.ask(`UID COPY ${uid} Archive`);
      await imap.ask(`UID STORE ${uid} +FLAGS.SILENT (\\Deleted)`);
      await imap.ask(`UID EXPUNGE ${uid}`);
      return;
    }
  }
}

/** UID and id of each message of the selected folder from a UID on. */
async function idsFrom(uid: number, imap: ImapClient): Promise<[number, string][]> {
  const replies = await imap.ask(`UID FETCH ${uid}:* (UID BODY.PEEK[HEADER.FIELDS (X-TEST-ID)])`);
  // The last message is in every range that ends in a star (RFC 3501 §6.4.8).
  return replies
    .filter((reply) => reply.includes(" FETCH ("))
    .map((reply): [number, string] => {
      const id = /^X-Test-Id: (\S+)/im.exec(reply)?.[1] ?? assert.fail(`no id in ${reply}`);
      return [Number(/UID (\d+)/.exec(reply)?.[1]), id];
    })
    .filter(([found]) => found >= uid);
}

/** Sends numbered mail until told to stop; a connection that is lost leaves one message unanswered. */
async function keepSending(postbag: Postbag, account: Account, isOver: () => boolean) {
  while (!isOver()) {
    try {
      using sender = await SmtpSender.connect(postbag.smtpPort);
      while (!isOver()) {
        const number = account.offered++;
        const id = `m${number}`;
        const to = `${people[number % people.length]}@${domain}`;
        const replies = await sender.send(mailNumber(id, `sender@${domain}`, [to]));
        if (replies.every((reply) => reply.startsWith("250"))) account.acknowledged.add(id);
      }
    } catch {
      await pause(20); // Killed, and not yet started again.
    }
  }
}

test(`${cycles} kills while Dovecot's clients work: each acknowledged message exists once`, {
  timeout: 60_000 + cycles * 30_000,
}, async (t) => {
  const lack = missingDovecot("imap") ?? missingDovecot("lmtp");
  if (lack) return t.skip(lack);
  const directory = temporaryDirectory("dovecot-kills");
  t.after(directory.remove);
  const data = join(directory.path, "data");
  chownSync(directory.path, nobody, nobody);
  await using postbag = await Postbag.start({
    ...{ data, domain, owner: nobody },
    arguments: ["--journal-segment-bytes", "1MiB"],
  });
  await using dovecot = await Dovecot.start({ mailRoot: join(data, "mail"), owner: nobody });
  const account = new Account();

  let isSending = true;
  let isReading = true;
  const sending = Array.from({ length: senders }, () =>
    keepSending(postbag, account, () => !isSending),
  );
  // A mailbox is there before its reader is.
  await until("the first mail", () => account.acknowledged.size >= 20);
  const readers = await Promise.all(
    people.map(async (person) => {
      const imap = await ImapClient.login(dovecot.imapPort, `${person}@${domain}`);
      await imap.ask("CREATE Archive");
      await imap.ask("SELECT INBOX");
      return imap;
    }),
  );
  const reading = Promise.all(readers.map((imap) => readMail(imap, account, () => !isReading)));

  for (let cycle = 0; cycle < cycles; cycle++) {
    const wanted = account.acknowledged.size + messagesPerCycle;
    const served = until("mail to be accepted", () => account.acknowledged.size >= wanted, 180_000);
    await Promise.race([served, reading]);
    await postbag.kill();
    await postbag.start();
  }
  isSending = false;
  await Promise.all(sending);
  assert.equal(await postbag.stop(), 0);
  isReading = false;
  const kept = await reading;
  for (const imap of readers) await imap.logout();

  const found = new Set(kept.flatMap((ids) => [...ids]));
  assert.equal(
    found.size,
    kept.reduce((sum, { size }) => sum + size, 0),
    "in one mailbox only",
  );
  const lost = [...account.acknowledged].filter((id) => !found.has(id) && !account.deleted.has(id));
  assert.deepEqual(lost, []);
  assert.deepEqual(
    [...account.deleted].filter((id) => found.has(id)),
    [],
  );
  for (const person of people) {
    const mailbox = postbag.mailbox(person);
    for (const file of [mailbox, join(mailbox, ".Archive")].flatMap((folder) => mailIn(folder))) {
      const text = textOf(file);
      const id = fieldOf(text, "X-Test-Id") ?? assert.fail(`${file.path} is not whole`);
      const sent = mailNumber(id, `sender@${domain}`, [`${person}@${domain}`]);
      assert.ok(found.has(id), id);
      assert.equal(bodyOf(text), storedBody(sent), id);
    }
    await dovecot.doveadm("force-resync", "-u", `${person}@${domain}`, "*");
  }
  assert.deepEqual(dovecot.complaints(), []);
  const restored = [
    ...postbag.log().matchAll(/recovered: (\d+) messages restored from it, (\d+) finished/g),
  ];
  const sum = (group: number) => restored.reduce((total, match) => total + Number(match[group]), 0);
  t.diagnostic(
    `${account.acknowledged.size} acknowledged, ${account.deleted.size} deleted by clients, ${found.size} kept; recovery restored ${sum(1)} and finished ${sum(2)}`,
  );
});
