/**
 * IMAP clients of a real Dovecot move, flag and delete mail while Postbag delivers through its
 * journal and is killed with -9 under load and restarted, 20 times.
 *
 * Environment: POSTBAG_KILL_CYCLES=200 sets the number of kills.
 */
import assert from "node:assert/strict";
import { chownSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Dovecot, missingDovecot } from "../../support/peers/dovecot.ts";
import { ImapClient } from "../../support/peers/imap-client.ts";
import { readableDirectory, until } from "../../support/peers/machine.ts";
import { bodyOf, fieldOf, mailIn, textOf } from "../../support/peers/mail-files.ts";
import { Postbag } from "../../support/peers/postbag.ts";
import { mailNumber, SmtpSender, storedBody } from "../../support/peers/smtp-sender.ts";

const cycles = Number(process.env.POSTBAG_KILL_CYCLES ?? 20);
const messagesPerCycle = 40;
const senders = 6;
const domain = "example.test";
const users = ["ann", "bob", "cid"];
/** The user nobody; Dovecot does not read mail as root. */
const nobodyUid = 65_534;

/** The expectations: the fate of each message, by the id in its header. */
class Expectations {
  /** Number of messages that the senders have begun to send. */
  offered = 0;
  /** Messages that Postbag answered with 250. */
  readonly acknowledged = new Set<string>();
  /** Messages that an IMAP client deleted. */
  readonly deleted = new Set<string>();
  readonly #arrived = new Set<string>();

  /** Records a message that is new in an INBOX. */
  arrived(id: string): void {
    assert.ok(!this.#arrived.has(id), `${id} was delivered twice or reappeared`);
    this.#arrived.add(id);
  }
}

/**
 * Reads one user's mail until `isOver`: some stays, some is flagged, moved, copied or deleted.
 * Returns the ids of the mail that remains.
 */
async function readMail(
  imap: ImapClient,
  expectations: Expectations,
  isOver: () => boolean,
): Promise<Set<string>> {
  let nextUid = 1;
  for (;;) {
    const wasOver = isOver();
    await imap.ask("NOOP");
    const arrived = await idsFrom(nextUid, imap);
    for (const [uid, id] of arrived) {
      nextUid = uid + 1;
      expectations.arrived(id);
      await handle(uid, id, imap, expectations);
    }
    if (arrived.length > 0) continue;
    if (wasOver) break;
    await pause(50);
  }
  const remaining = new Set<string>();
  for (const folder of ["INBOX", "Archive"]) {
    await imap.ask(`SELECT ${folder}`);
    for (const [, id] of await idsFrom(1, imap)) {
      assert.ok(!remaining.has(id), `${id} exists twice`);
      remaining.add(id);
    }
  }
  return remaining;
}

async function handle(uid: number, id: string, imap: ImapClient, expectations: Expectations) {
  switch (Number(id.slice(1)) % 6) {
    case 0:
      expectations.deleted.add(id);
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
      // Copied to the archive and the original removed, as older clients move mail.
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

/** Sends numbered mail until `isOver`; each kill leaves a message without a reply. */
async function sendUntil(postbag: Postbag, expectations: Expectations, isOver: () => boolean) {
  while (!isOver()) {
    try {
      using sender = await SmtpSender.connect(postbag.smtpPort);
      while (!isOver()) {
        const number = expectations.offered++;
        const id = `m${number}`;
        const to = `${users[number % users.length]}@${domain}`;
        const replies = await sender.send(mailNumber(id, `sender@${domain}`, [to]));
        if (replies.every((reply) => reply.startsWith("250"))) expectations.acknowledged.add(id);
      }
    } catch {
      await pause(20); // Killed and not yet restarted.
    }
  }
}

test(`${cycles} kills while Dovecot's clients work: each acknowledged message exists once`, {
  timeout: 60_000 + cycles * 30_000,
}, async (t) => {
  const lack = missingDovecot("imap") ?? missingDovecot("lmtp");
  if (lack) return t.skip(lack);
  const directory = readableDirectory("dovecot-kills");
  t.after(directory.remove);
  const data = join(directory.path, "data");
  chownSync(directory.path, nobodyUid, nobodyUid);
  await using postbag = await Postbag.start({
    ...{ data, domain, owner: nobodyUid },
    arguments: ["--journal-segment-bytes", "1MiB"],
  });
  await using dovecot = await Dovecot.start({ mailRoot: join(data, "mail"), owner: nobodyUid });
  const expectations = new Expectations();

  let isSending = true;
  let isReading = true;
  const sending = Array.from({ length: senders }, () =>
    sendUntil(postbag, expectations, () => !isSending),
  );
  // A mailbox must exist before its reader starts.
  await until("the first mail", () => expectations.acknowledged.size >= 20);
  const readers = await Promise.all(
    users.map(async (user) => {
      const imap = await ImapClient.login(dovecot.imapPort, `${user}@${domain}`);
      await imap.ask("CREATE Archive");
      await imap.ask("SELECT INBOX");
      return imap;
    }),
  );
  const reading = Promise.all(
    readers.map((imap) => readMail(imap, expectations, () => !isReading)),
  );

  for (let cycle = 0; cycle < cycles; cycle++) {
    const wanted = expectations.acknowledged.size + messagesPerCycle;
    const served = until(
      "mail to be accepted",
      () => expectations.acknowledged.size >= wanted,
      180_000,
    );
    await Promise.race([served, reading]);
    await postbag.kill();
    await postbag.start();
  }
  isSending = false;
  await Promise.all(sending);
  assert.equal(await postbag.stop(), 0);
  isReading = false;
  const remaining = await reading;
  for (const imap of readers) await imap.logout();

  const found = new Set(remaining.flatMap((ids) => [...ids]));
  assert.equal(
    found.size,
    remaining.reduce((sum, { size }) => sum + size, 0),
    "each message is in one mailbox only",
  );
  const lost = [...expectations.acknowledged].filter(
    (id) => !found.has(id) && !expectations.deleted.has(id),
  );
  assert.deepEqual(lost, []);
  assert.deepEqual(
    [...expectations.deleted].filter((id) => found.has(id)),
    [],
  );
  for (const user of users) {
    const mailbox = postbag.mailbox(user);
    for (const file of [mailbox, join(mailbox, ".Archive")].flatMap((folder) => mailIn(folder))) {
      const text = textOf(file);
      const id = fieldOf(text, "X-Test-Id") ?? assert.fail(`${file.path} is not whole`);
      const sent = mailNumber(id, `sender@${domain}`, [`${user}@${domain}`]);
      assert.ok(found.has(id), id);
      assert.equal(bodyOf(text), storedBody(sent), id);
    }
    await dovecot.doveadm("force-resync", "-u", `${user}@${domain}`, "*");
  }
  assert.deepEqual(dovecot.complaints(), []);
  const restored = [...postbag.log().matchAll(/\brestored"?[:=](\d+),? ?"?finished"?[:=](\d+)/g)];
  const sum = (group: number) => restored.reduce((total, match) => total + Number(match[group]), 0);
  t.diagnostic(
    `${expectations.acknowledged.size} acknowledged, ${expectations.deleted.size} deleted by clients, ${found.size} remaining; recovery restored ${sum(1)} and finished ${sum(2)}`,
  );
});
