/** An IMAP client of Dovecot reads, moves, flags and deletes mail while Postbag delivers it. */
import assert from "node:assert/strict";
import { chownSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Dovecot, missingDovecot } from "../../support/peers/dovecot.ts";
import { ImapClient } from "../../support/peers/imap-client.ts";
import { readableDirectory } from "../../support/peers/machine.ts";
import { fieldOf, mailIn, sha256, sizesOf } from "../../support/peers/mail-files.ts";
import { Postbag } from "../../support/peers/postbag.ts";
import { type Mail, mailNumber, sendAll } from "../../support/peers/smtp-sender.ts";

const domain = "example.test";
const messages = 1_000;
/** The user nobody; Dovecot does not read mail as root. */
const nobodyUid = 65_534;

interface Fetched {
  readonly uid: number;
  readonly size: number;
  readonly dateMs: number;
  readonly text: string;
}

/** The messages of the selected folder from a UID on, with their text. */
async function fetchFrom(uid: number, imap: ImapClient): Promise<Fetched[]> {
  const replies = await imap.ask(`UID FETCH ${uid}:* (UID RFC822.SIZE INTERNALDATE BODY.PEEK[])`);
  // The last message is in every range that ends in a star (RFC 3501 §6.4.8).
  return replies
    .filter((reply) => reply.includes(" FETCH ("))
    .map(parseFetch)
    .filter((message) => message.uid >= uid);
}

function parseFetch(reply: string): Fetched {
  const items = reply.slice(0, reply.indexOf("BODY[]"));
  const text = reply.slice(reply.indexOf("\n") + 1);
  const length = Number(/BODY\[\] \{(\d+)\}/.exec(reply)?.[1]);
  return {
    uid: Number(/UID (\d+)/.exec(items)?.[1]),
    size: Number(/RFC822\.SIZE (\d+)/.exec(items)?.[1]),
    dateMs: Date.parse(/INTERNALDATE "\s*([^"]+)"/.exec(items)?.[1] ?? ""),
    text: text.slice(0, length),
  };
}

/** The id of a message; fails unless the message was sent with this body. */
function idOf({ text }: Fetched, mails: ReadonlyMap<string, Mail>): string {
  const id = fieldOf(text.replaceAll("\r\n", "\n"), "X-Test-Id") ?? "";
  const sent = mails.get(id)?.text ?? assert.fail(`${id} was not sent`);
  const bodyOf = (message: string) => message.slice(message.indexOf("\r\n\r\n"));
  assert.equal(sha256(bodyOf(text)), sha256(bodyOf(sent)), id);
  return id;
}

test("Dovecot shows 1,000 messages as stored while a client moves, flags and deletes", {
  timeout: 120_000,
}, async (t) => {
  const lack = missingDovecot("imap") ?? missingDovecot("lmtp");
  if (lack) return t.skip(lack);
  const directory = readableDirectory("dovecot-imap");
  t.after(directory.remove);
  const data = join(directory.path, "data");
  chownSync(directory.path, nobodyUid, nobodyUid);
  await using postbag = await Postbag.start({ data, domain, owner: nobodyUid });
  await using dovecot = await Dovecot.start({ mailRoot: join(data, "mail"), owner: nobodyUid });
  const all = Array.from({ length: messages }, (_, index) =>
    mailNumber(`m${index}`, `sender@${domain}`, [`you@${domain}`]),
  );
  const mails = new Map(all.map((mail, index) => [`m${index}`, mail]));
  // The mailbox must exist before its reader starts.
  await sendAll(postbag.smtpPort, all.slice(0, 1), 1);
  const imap = await ImapClient.login(dovecot.imapPort, `you@${domain}`);
  await imap.ask("CREATE Archive");
  await imap.ask("SELECT INBOX");

  let sending = true;
  const sent = sendAll(postbag.smtpPort, all.slice(1), 8).finally(() => {
    sending = false;
  });
  const deleted = new Set<string>();
  let nextUid = 1;
  const flagged = new Set<number>();
  let rounds = 0;
  while (sending) {
    await imap.ask("NOOP");
    for (const message of await fetchFrom(nextUid, imap)) {
      nextUid = message.uid + 1;
      const id = idOf(message, mails);
      const number = Number(id.slice(1));
      if (number % 5 === 0) await imap.ask(`UID MOVE ${message.uid} Archive`);
      else if (number % 5 === 1) {
        await imap.ask(`UID STORE ${message.uid} +FLAGS (\\Deleted)`);
        await imap.ask(`UID EXPUNGE ${message.uid}`);
        deleted.add(id);
      } else if (number % 5 === 2) {
        await imap.ask(`UID STORE ${message.uid} +FLAGS (\\Seen \\Flagged)`);
        flagged.add(message.uid);
      }
    }
    rounds += 1;
  }
  assert.equal((await sent).length, messages - 1);
  await postbag.published();
  assert.ok(
    rounds > 1 && deleted.size > 0 && flagged.size > 0,
    "the reader worked during the delivery",
  );

  await imap.ask("NOOP");
  const inbox = await fetchFrom(1, imap);
  const withFlags = (await imap.ask("UID SEARCH FLAGGED SEEN"))[0]!.match(/\d+/g) ?? [];
  assert.deepEqual(new Set(withFlags.map(Number)), flagged);
  await imap.ask("SELECT Archive");
  const archive = await fetchFrom(1, imap);
  await imap.logout();
  const remaining = [...inbox, ...archive].map((message) => idOf(message, mails));
  assert.equal(remaining.length, messages - deleted.size);
  assert.deepEqual(new Set([...remaining, ...deleted]), new Set(mails.keys()));

  const mailbox = postbag.mailbox("you");
  const files = [mailbox, join(mailbox, ".Archive")].flatMap((folder) => mailIn(folder));
  const sizes = files.map(({ name }) => sizesOf(name).wire).sort();
  assert.deepEqual(sizes, [...inbox, ...archive].map(({ size }) => size).sort());
  const dates = files.map(({ path }) => Math.floor(statSync(path).mtimeMs / 1_000)).sort();
  assert.deepEqual(dates, [...inbox, ...archive].map(({ dateMs }) => dateMs / 1_000).sort());

  await dovecot.doveadm("force-resync", "-u", `you@${domain}`, "*");
  assert.deepEqual(dovecot.complaints(), []);
  t.diagnostic(
    `${rounds} rounds of the reader: ${archive.length} moved, ${deleted.size} deleted, ${flagged.size} flagged`,
  );
});
