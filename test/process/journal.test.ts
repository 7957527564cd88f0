/**
 * The journal of `postbag serve` as a process: after kill -9, without the volume of its mail,
 * damaged, of another version, turned off and on again; and what `doctor` and `recover` do with it.
 */
import assert from "node:assert/strict";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { crc32 } from "node:zlib";
import { temporaryDirectory } from "../support/temporary.ts";
import { sendMessage } from "./support/client.ts";
import { filesIn, run, type Server, serve } from "./support/postbag.ts";

/** Flags for small segments, which are created quickly. */
const small = ["--journal-segment-bytes", "64KiB", "--journal-segments", "4"];
/** Flags with which messages after the first are published only by the stop or the next start. */
const late = [...small, "--publish-within-ms", "3600000"];

async function send(server: Server, text: string, to = "you@localhost"): Promise<void> {
  const reply = await sendMessage(server.smtpPort, `Subject: ${text}\n\n${text}`, { to });
  assert.match(reply ?? "", /^250 /);
}

/** A server that has published the message `one`; the messages `unpublished` are in its journal. */
async function serveUnpublished(
  t: TestContext,
  data: string,
  unpublished: readonly string[] = ["two", "three"],
) {
  const server = await serve(t, data, late);
  await send(server, "one");
  await server.published();
  for (const text of unpublished) await send(server, text);
  return server;
}

function subjects(data: string, mailbox = "localhost/you"): string[] {
  return [...filesIn(data, mailbox).values()]
    .map((content) => /^Subject: (.*)$/m.exec(content)?.[1] ?? "")
    .sort();
}

/** Names, times and contents of all files below a folder. */
function snapshot(folder: string): unknown[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((found) => found.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort()
    .map((path) => [path, statSync(path).mtimeMs, readFileSync(path).toString("base64")]);
}

test("after kill -9 doctor and a dry run report the mail that the next start publishes", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const server = await serveUnpublished(t, data);
  await server.stop("SIGKILL");
  assert.deepEqual(subjects(data), ["one"]);

  const before = snapshot(data);
  const doctor = await run(["doctor", "--data", data, "--smtp", "off", "--lmtp", "off"]);
  assert.match(doctor.stdout, /^ok +Journal: .*opened 1 times; /m);
  assert.match(
    doctor.stdout,
    /^warning +Unpublished mail: 2 messages \(\d+ bytes\) for 1 mailboxes below .*mail: 2 to be restored/m,
  );
  const dry = await run(["recover", "--dry-run", "--data", data]);
  assert.deepEqual([dry.code, dry.stderr], [0, ""]);
  assert.match(dry.stdout, /^Unpublished: 2 messages .* 2 to be restored from the journal\.\n$/);
  assert.deepEqual(snapshot(data), before);

  const again = await serve(t, data, small);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
  assert.match(again.stderr(), /"restored":2,"finished":0,"skipped":0,.*"msg":"journal recovered"/);
  const metrics = await (await fetch(`${again.http}/metrics`)).text();
  assert.match(metrics, /^postbag_recovered_messages\{how="restored"\} 2$/m);
  assert.match(metrics, /^postbag_journal_accepting 1$/m);
  assert.match(metrics, /^postbag_journal_segments \d$/m);
  assert.match(await (await fetch(again.http)).text(), /<dt>Recovered<\/dt><dd>2 restored, /);
  assert.equal((await again.stop()).code, 0);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
});

test("SIGTERM publishes every acknowledged message", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const server = await serveUnpublished(t, data);
  const metrics = await (await fetch(`${server.http}/metrics`)).text();
  assert.match(metrics, /^postbag_unpublished_messages 2$/m);
  assert.ok(Number(/^postbag_oldest_unpublished_seconds (\S+)$/m.exec(metrics)?.[1]) > 0);
  assert.equal((await server.stop()).code, 0);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
  const recover = await run(["recover", "--data", data]);
  assert.equal(recover.code, 0);
  assert.match(recover.stdout, /^The journal in .* has no unpublished mail: /);
});

test("recover publishes the mail of the journal, and fails beside a running server", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const none = await run(["recover", "--data", data]);
  assert.equal(none.code, 0);
  assert.match(none.stdout, /^There is no journal in /);

  const server = await serveUnpublished(t, data);
  for (const flags of [[], ["--dry-run"]]) {
    const beside = await run(["recover", "--data", data, ...flags]);
    assert.equal(beside.code, 75);
    assert.match(
      beside.stderr,
      new RegExp(`^postbag: Another Postbag \\(process ${server.pid}\\)`),
    );
  }
  const doctor = await run(["doctor", "--data", data]);
  assert.match(
    doctor.stdout,
    /^ok +Unpublished mail: 2 messages .*; the running server is publishing it$/m,
  );
  await server.stop("SIGKILL");
  const recover = await run(["recover", "--data", data]);
  assert.equal(recover.code, 0, recover.stderr);
  assert.match(recover.stdout, /^Recovered: 2 messages restored from the journal, 0 finished, /);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
});

test("a change to synced commits and back publishes all mail", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  await (await serveUnpublished(t, data)).stop("SIGKILL");
  const synced = await serve(t, data, ["--commit", "synced", ...small]);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
  await send(synced, "four");
  assert.deepEqual(subjects(data), ["four", "one", "three", "two"]);
  await synced.stop("SIGKILL");
  const journal = await serve(t, data, small);
  await send(journal, "five");
  await journal.published();
  assert.deepEqual(subjects(data), ["five", "four", "one", "three", "two"]);
});

test("a second server on one journal is refused", async (t) => {
  const folder = temporaryDirectory(t);
  const flags = ["--journal", join(folder, "journal"), ...small];
  await serve(t, join(folder, "data"), flags);
  const second = ["serve", "--data", join(folder, "other"), "--smtp", "off", "--lmtp", "off"];
  const { code, stderr } = await run([...second, "--http", "off", ...flags]);
  assert.equal(code, 75);
  assert.match(stderr, /^postbag: Another Postbag is using the journal in .*--journal\n$/);
});

test("a journal of another version is an error of one line with exit code 78", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  await (await serveUnpublished(t, data)).stop("SIGKILL");
  for (const path of segmentsOf(data)) makeLater(path);
  const before = snapshot(data);
  const { code, stderr } = await run(["serve", "--data", data, "--smtp", "off", "--lmtp", "off"]);
  assert.equal(code, 78);
  assert.match(stderr, /^postbag: Segment-\d+ in .* has format version \d+, which this Postbag/);
  assert.equal(stderr.split("\n").length, 2);
  const doctor = await run(["doctor", "--data", data]);
  assert.match(doctor.stdout, /^BAD +Journal: .*format version/m);
  assert.deepEqual(snapshot(data), before);
});

test("new mail for a missing volume gets 451; older mail is published at its return", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  await (await serveUnpublished(t, data)).stop("SIGKILL");
  renameSync(join(data, "mail"), join(data, "away"));
  mkdirSync(join(data, "mail"));
  const dry = await run(["recover", "--dry-run", "--data", data]);
  assert.equal(dry.code, 75);
  assert.match(dry.stdout, /2 waiting for their volume/);

  const server = await serve(t, data, small);
  const refused = await sendMessage(server.smtpPort, "Subject: x\n\nx");
  assert.match(refused ?? "", /^451 4\.3\.0 /);
  const readyz = await (await fetch(`${server.http}/readyz`)).text();
  assert.match(readyz, /^not ready: The volume at .*mail is not the one/);
  rmSync(join(data, "mail"), { recursive: true });
  renameSync(join(data, "away"), join(data, "mail"));
  await server.logged(/volume available again/);
  assert.equal((await fetch(`${server.http}/readyz`)).status, 200);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
  await send(server, "four");
});

test("a damaged journal yields its undamaged mail and moves aside with --accept-damage", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  await (await serveUnpublished(t, data, ["two", "three", "four"])).stop("SIGKILL");
  // The byte is in the frame of the second message; valid frames follow it.
  const [segment = ""] = segmentsOf(data).filter((path) => positionOf(path, "Subject: two") > 0);
  changeByte(segment, positionOf(segment, "Subject: two"));

  const doctor = await run(["doctor", "--data", data]);
  assert.equal(doctor.code, 69);
  assert.match(doctor.stdout, /^BAD +Journal damage: segment-\d+ lacks records .*\n +→ Stop the/m);
  const recover = await run(["recover", "--data", data, ...small]);
  assert.equal(recover.code, 65, recover.stderr);
  assert.match(recover.stdout, /^Recovered: 2 .*\nDamage: segment-\d+ lacks records/);
  assert.deepEqual(subjects(data), ["four", "one", "three"]);

  const server = await serve(t, data, small);
  assert.match(server.stderr(), /journal damaged; undamaged mail was recovered/);
  await send(server, "five");
  await server.stop();
  const accepted = await run(["recover", "--accept-damage", "--data", data, ...small]);
  assert.equal(accepted.code, 0, accepted.stderr);
  const [, aside = ""] = /^The segments were moved to (\S+);/m.exec(accepted.stdout) ?? [];
  assert.ok(readdirSync(aside).length > 0);
  const clean = await serve(t, data, small);
  assert.doesNotMatch(clean.stderr(), /damaged/);
  await send(clean, "six");
  await clean.stop();
  assert.deepEqual(subjects(data), ["five", "four", "one", "six", "three"]);
});

test("mail of a removed mailbox is an orphan that is logged and shown by doctor", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const server = await serveUnpublished(t, data, []);
  await send(server, "lost", "gone@localhost");
  rmSync(join(data, "mail/localhost/gone"), { recursive: true });
  await server.stop("SIGKILL");
  const again = await serve(t, data, small);
  assert.match(
    again.stderr(),
    /"level":"error",.*"msg":"mail not published; it was moved to orphans/,
  );
  assert.match(await (await fetch(again.http)).text(), /<dt>Orphans<\/dt><dd>1, /);
  assert.match(await (await fetch(`${again.http}/metrics`)).text(), /^postbag_orphans 1$/m);
  assert.equal((await fetch(`${again.http}/readyz`)).status, 200);
  const doctor = await run(["doctor", "--data", data]);
  assert.match(doctor.stdout, /^warning +Orphans: 1 messages in \S+\/orphans could not/m);
  const list = await run(["mailbox", "list", "--data", data]);
  assert.equal(list.stdout, "you@localhost  1 new, 0 seen\n");
  // Mail to an address with the name of the staging directory goes to a mailbox with a coded name.
  const [staging = ""] = readdirSync(join(data, "mail")).filter((name) => name.startsWith("."));
  await send(again, "x", `${staging}@localhost`);
  await again.published();
  assert.equal(filesIn(data, `localhost/%2E${staging.slice(1)}`).size, 1);
});

function segmentsOf(data: string): string[] {
  const folder = join(data, "journal");
  const names = readdirSync(folder).filter((name) => name.startsWith("segment-"));
  return names.map((name) => join(folder, name));
}

function positionOf(path: string, text: string): number {
  return readFileSync(path).indexOf(text);
}

/** Sets the format version of a segment to 9, a later one; see `src/journal/format.ts`. */
function makeLater(path: string): void {
  const bytes = readFileSync(path);
  if (bytes.readUInt16BE(12) === 0) return; // An unused segment is all zeros.
  bytes.writeUInt16BE(9, 12);
  bytes.writeUInt32BE(crc32(bytes.subarray(12, 80)), 8);
  writeFileSync(path, bytes);
}

function changeByte(path: string, position: number): void {
  const bytes = readFileSync(path);
  bytes[position] = (bytes[position] ?? 0) ^ 0x40;
  writeFileSync(path, bytes);
}
