/**
 * The journal of `postbag serve` as a process, continued from `test/process/journal.test.ts`: recovered by
 * command, turned off and on again, damaged, without its volume or a mailbox.
 */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { sendMessage } from "../../process/support/client.ts";
import {
  changeByte,
  positionOf,
  segmentsOf,
  send,
  serveUnpublished,
  small,
  subjects,
} from "../../process/support/journal-server.ts";
import { filesIn, run, serve } from "../../process/support/postbag.ts";
import { temporaryDirectory } from "../../support/temporary.ts";

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
