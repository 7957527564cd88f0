/** mutt and Python's mailbox module work in a Maildir while Postbag delivers into it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { missing, readableDirectory, run } from "../../support/peers/machine.ts";
import { bodyOf, fieldOf, mailIn, sha256, textOf } from "../../support/peers/mail-files.ts";
import { Postbag } from "../../support/peers/postbag.ts";
import { type Mail, mailNumber, sendAll, storedBody } from "../../support/peers/smtp-sender.ts";

const domain = "example.test";

async function startPostbag(t: TestContext) {
  const directory = readableDirectory("readers");
  const postbag = await Postbag.start({ data: join(directory.path, "data"), domain });
  t.after(async () => {
    await postbag.stop();
    directory.remove();
  });
  return { postbag, directory: directory.path };
}

function mailsTo(user: string, count: number, first = 0): Mail[] {
  return Array.from({ length: count }, (_, index) =>
    mailNumber(`m${first + index}`, `sender@${domain}`, [`${user}@${domain}`]),
  );
}

/** Ids of the messages in a mailbox; fails unless each is whole. */
function idsIn(mailbox: string, mails: readonly Mail[]): string[] {
  return mailIn(mailbox).map((file) => {
    const text = textOf(file);
    const id = fieldOf(text, "X-Test-Id") ?? "";
    assert.equal(bodyOf(text), storedBody(mails[Number(id.slice(1))]!), id);
    return id;
  });
}

/** Runs mutt once over a mailbox: it deletes, flags, marks as read, writes back and quits. */
function mutt(mailbox: string, muttrc: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const args = ["-qec", `mutt -n -F ${muttrc} -f ${mailbox}`, "/dev/null"];
  const env = { ...process.env, TERM: "vt100", LC_ALL: "C" };
  execFile("script", args, { env, timeout: 20_000 }, (failure, screen) =>
    failure ? reject(failure) : resolve(screen),
  ).stdin?.end();
  return promise;
}

test("mutt deletes and flags mail while Postbag delivers, and nothing else changes", {
  timeout: 60_000,
}, async (t) => {
  const lack = missing({ programs: ["mutt", "script"] });
  if (lack) return t.skip(lack);
  const { postbag, directory } = await startPostbag(t);
  const muttrc = join(directory, "muttrc");
  writeFileSync(
    muttrc,
    `set delete=yes quit=yes move=no mark_old=no confirmappend=no wait_key=no mail_check=1 timeout=1
set folder="${directory}" record="" header_cache="" beep=no
push "<delete-pattern>~s m[0-9]*7$<enter><tag-pattern>~s m[0-9]*3$<enter><tag-prefix><set-flag>!<tag-prefix><clear-flag>N<sync-mailbox><quit>"
`,
  );
  const mails = mailsTo("you", 300);
  const mailbox = postbag.mailbox("you");
  await sendAll(postbag.smtpPort, mails.slice(0, 100));

  const sent = sendAll(postbag.smtpPort, mails.slice(100), 4);
  let runs = 0;
  let sending = true;
  const ended = sent.finally(() => {
    sending = false;
  });
  do {
    await mutt(mailbox, muttrc);
    runs += 1;
  } while (sending);
  assert.equal((await ended).length, 200);
  await postbag.published();
  await mutt(mailbox, muttrc);

  const expected = mails.map((_, index) => `m${index}`).filter((id) => !id.endsWith("7"));
  assert.deepEqual(idsIn(mailbox, mails).sort(), expected.sort());
  const flagged = mailIn(mailbox).filter(({ name }) => /:2,[A-Z]*F/.test(name));
  assert.deepEqual(
    flagged.map((file) => fieldOf(textOf(file), "X-Test-Id")).sort(),
    expected.filter((id) => id.endsWith("3")).sort(),
  );
  t.diagnostic(`${runs + 1} runs of mutt`);
});

const python = `
import hashlib, json, mailbox, sys
box = mailbox.Maildir(sys.argv[1], factory=None, create=False)
box.clean()
found = {}
for key in box.keys():
    message = box[key]
    body = box.get_bytes(key).split(b"\\n\\n", 1)[1]
    found.setdefault(message["X-Test-Id"], []).append(hashlib.sha256(body).hexdigest())
print(json.dumps(found))
`;

test("Python's mailbox parses every message, and its clean() removes no message", {
  timeout: 60_000,
}, async (t) => {
  const lack = missing({ programs: ["python3"] });
  if (lack) return t.skip(lack);
  const { postbag } = await startPostbag(t);
  const mails = mailsTo("you", 300);
  const mailbox = postbag.mailbox("you");
  await sendAll(postbag.smtpPort, mails.slice(0, 1));
  const read = async () => JSON.parse(await run("python3", "-c", python, mailbox));

  // clean() removes files in tmp/ that are older than 36 hours; a delivery's files are younger.
  const leftover = join(mailbox, "tmp", "1.leftover.host");
  writeFileSync(leftover, "");
  utimesSync(leftover, 1, 1);
  const sent = sendAll(postbag.smtpPort, mails.slice(1), 8);
  let sending = true;
  const ended = sent.finally(() => {
    sending = false;
  });
  while (sending) await read();
  assert.equal((await ended).length, 299);
  await postbag.published();

  const found = (await read()) as Record<string, string[]>;
  const expected = mails.map((mail, index) => [`m${index}`, [sha256(storedBody(mail))]]);
  assert.deepEqual(found, Object.fromEntries(expected));
  assert.deepEqual(mailIn(mailbox, ["tmp"]), []);
});
