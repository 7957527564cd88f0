/**
 * `postbag serve` with its data on a disk that is full, out of inodes, read-only or hanging: mail
 * gets 4yz, never 5yz, no acknowledged mail is lost, and service resumes without a restart. In both
 * commit modes; journal-disks.test.ts fails the disks of a journal. Skipped without root and loop
 * devices.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { sendMessage } from "../../process/support/client.ts";
import { filesIn, type Server, serve } from "../../process/support/postbag.ts";
import { atEnd, temporaryDirectory } from "../../support/temporary.ts";
import { fill, mountSmallDisk, whyNoDisk } from "./small-disk.ts";

const hello = "Subject: Hello\n\nIt works.";
const page = `${"x".repeat(70)}\n`.repeat(900);

/**
 * Sends numbered messages until five in a row are deferred; returns the numbers of the accepted
 * ones. Until it is published a message takes its size twice, in the journal and in staging, so
 * after the first deferred message publishing may make room for more.
 */
async function sendUntilFull(server: Server, body: string): Promise<number[]> {
  const accepted: number[] = [];
  let refused = 0;
  for (let number = 1; refused < 5; number++) {
    assert.ok(number < 2_000, "the disk was never full");
    const answer = await sendMessage(server.smtpPort, `Subject: ${number}\n\n${body}`);
    if (/^250 /.test(answer ?? "")) {
      accepted.push(number);
      refused = 0;
      continue;
    }
    assert.match(answer ?? "no answer", /^452 4\.3\.1 /);
    refused += 1;
    await server.published();
  }
  return accepted;
}

/** The numbers of the messages in the mailbox; each must be complete. */
function numbersIn(server: Server, body: string): number[] {
  const contents = [...filesIn(server.data, "localhost/you").values()];
  return contents
    .flatMap((content) => {
      const number = /^Subject: (\d+)$/m.exec(content)?.[1];
      if (number === undefined) return [];
      assert.ok(content.endsWith(`\n\n${body}\n`), `message ${number} is complete`);
      return [Number(number)];
    })
    .sort((a, b) => a - b);
}

async function isReady(server: Server): Promise<boolean> {
  return (await fetch(`${server.http}/readyz`)).status === 200;
}

/** The flags of both commit modes, with a journal that is small enough for the test's disks. */
const modes = {
  synced: ["--commit", "synced"],
  journal: ["--commit", "journal", "--journal-segment-bytes", "512KiB", "--journal-segments", "4"],
};

for (const [mode, flags] of Object.entries(modes)) {
  test(`${mode}: a disk that fills up gives 452 4.3.1 and loses nothing`, async (t) => {
    const reason = whyNoDisk();
    if (reason) return t.skip(reason);
    const disk = mountSmallDisk(t, temporaryDirectory(t), { megabytes: 16 });
    const server = await serve(t, join(disk.path, "data"), [...flags, "--min-free-bytes", "8MiB"]);
    const accepted = await sendUntilFull(server, page);
    assert.ok(accepted.length > 10, `${accepted.length} messages fit`);
    assert.deepEqual(numbersIn(server, page), accepted);
    assert.equal(await isReady(server), false);

    const [first = ""] = filesIn(server.data, "localhost/you").keys();
    for (const name of [...filesIn(server.data, "localhost/you").keys()].slice(1)) {
      rmSync(join(server.data, "mail/localhost/you/new", name));
    }
    assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
    assert.equal(await isReady(server), true);
    await server.published();
    assert.ok(filesIn(server.data, "localhost/you").has(first));
    assert.equal((await server.stop()).code, 0);
  });

  test(`${mode}: a full disk gives 4yz for old and new mailboxes until space is freed`, async (t) => {
    const reason = whyNoDisk();
    if (reason) return t.skip(reason);
    const disk = mountSmallDisk(t, temporaryDirectory(t), { megabytes: 16 });
    const server = await serve(t, join(disk.path, "data"), flags);
    assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
    fill(join(disk.path, "filler"));
    for (const to of ["you@localhost", "new@localhost"]) {
      for (const port of [server.smtpPort, server.lmtpPort]) {
        assert.match((await sendMessage(port, page, { to })) ?? "", /^452 4\.3\.1 /, to);
      }
    }
    rmSync(join(disk.path, "filler"));
    for (const to of ["you@localhost", "new@localhost"]) {
      assert.match((await sendMessage(server.smtpPort, page, { to })) ?? "", /^250 /, to);
    }
    assert.equal((await server.stop()).code, 0);
  });

  test(`${mode}: a large message without room for its spool file gets 4yz`, async (t) => {
    const reason = whyNoDisk();
    if (reason) return t.skip(reason);
    const disk = mountSmallDisk(t, temporaryDirectory(t), { megabytes: 16 });
    const server = await serve(t, join(disk.path, "data"), flags);
    fill(join(disk.path, "filler"));
    const large = page.repeat(60);
    assert.match((await sendMessage(server.smtpPort, large)) ?? "", /^45[12] 4\.3\./);
    rmSync(join(disk.path, "filler"));
    assert.match((await sendMessage(server.smtpPort, large)) ?? "", /^250 /);
    assert.equal((await server.stop()).code, 0);
  });

  test(`${mode}: a disk without inodes gives 452 4.3.1 until some are freed`, async (t) => {
    const reason = whyNoDisk();
    if (reason) return t.skip(reason);
    const disk = mountSmallDisk(t, temporaryDirectory(t), { inodes: 192 });
    const server = await serve(t, join(disk.path, "data"), flags);
    const accepted = await sendUntilFull(server, "x\n");
    assert.deepEqual(numbersIn(server, "x\n"), accepted);
    assert.match(
      (await sendMessage(server.smtpPort, hello, { to: "new@localhost" })) ?? "",
      /^452 4\.3\.1 /,
    );
    for (const name of [...filesIn(server.data, "localhost/you").keys()].slice(0, 8)) {
      rmSync(join(server.data, "mail/localhost/you/new", name));
    }
    for (const to of ["you@localhost", "new@localhost"]) {
      assert.match((await sendMessage(server.smtpPort, hello, { to })) ?? "", /^250 /, to);
    }
    assert.equal((await server.stop()).code, 0);
  });

  test(`${mode}: a hanging disk gives 452 in bounded memory; begun batches are finished`, async (t) => {
    const reason = whyNoDisk();
    if (reason) return t.skip(reason);
    const disk = mountSmallDisk(t, temporaryDirectory(t), { megabytes: 256 });
    const limits = ["--admission-timeout-ms", "200", "--max-pending-bytes", "16MiB"];
    const server = await serve(t, join(disk.path, "data"), [...flags, ...limits]);
    assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
    disk.freeze();
    const half = page.repeat(8);
    const clients = Array.from({ length: 100 }, async (_, client) => {
      const answers: string[] = [];
      for (let time = 0; time < 6; time++) {
        const message = `Subject: ${client * 100 + time}\n\n${half}`;
        answers.push((await sendMessage(server.smtpPort, message)) ?? "no answer");
      }
      return answers;
    });
    // Messages in a batch under way wait for the disk; all others are answered while it hangs.
    const refusals = await countedRefusals(server, 300);
    assert.ok(refusals >= 300);
    const residentMiB = residentBytes(server.pid) / 2 ** 20;
    t.diagnostic(`resident ${residentMiB.toFixed(0)} MiB with the disk frozen`);
    assert.ok(residentMiB < 400, `resident ${residentMiB} MiB`);
    disk.thaw();
    const answers = (await Promise.all(clients)).flat();
    const wrong = answers.filter((answer) => !/^(250|452 4\.3\.1) /.test(answer));
    assert.deepEqual(wrong, []);
    const accepted = answers.filter((answer) => answer.startsWith("250 ")).length;
    await server.published();
    assert.equal(numbersIn(server, half).length, accepted);
    assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
    assert.equal((await server.stop()).code, 0);
  });
}

test("synced: mail gets 451 while the disk is read-only", async (t) => {
  const reason = whyNoDisk();
  if (reason) return t.skip(reason);
  const disk = mountSmallDisk(t, temporaryDirectory(t));
  // A disk with a file open for writing, such as the data directory's lock, cannot be remounted
  // read-only. So only the mailboxes of the domain are on this disk.
  const data = join(temporaryDirectory(t), "data");
  mkdirSync(join(data, "mail/localhost"), { recursive: true });
  execFileSync("mount", ["--bind", disk.path, join(data, "mail/localhost")]);
  atEnd(t, () => execFileSync("umount", [join(data, "mail/localhost")]));
  const server = await serve(t, data, modes.synced);
  assert.match((await sendMessage(server.smtpPort, hello)) ?? "", /^250 /);
  disk.remount("ro");
  for (const to of ["you@localhost", "new@localhost"]) {
    assert.match((await sendMessage(server.smtpPort, hello, { to })) ?? "", /^451 4\.3\.0 /, to);
  }
  disk.remount("rw");
  for (const to of ["you@localhost", "new@localhost"]) {
    assert.match((await sendMessage(server.smtpPort, hello, { to })) ?? "", /^250 /, to);
  }
  assert.equal((await server.stop()).code, 0);
});

/** Reads the metrics until the server has deferred that many recipients. */
async function countedRefusals(server: Server, wanted: number): Promise<number> {
  for (;;) {
    const metrics = await (await fetch(`${server.http}/metrics`)).text();
    const [, count = "0"] =
      /^postbag_recipients_total\{outcome="deferred"\} (\d+)$/m.exec(metrics) ?? [];
    if (Number(count) >= wanted) return Number(count);
  }
}

function residentBytes(pid: number): number {
  const [, kibibytes = "0"] =
    /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kibibytes) * 1024;
}
