/**
 * `postbag serve` with a journal, while the disk of the mail or of the journal is full, read-only
 * or hanging between the 250 and the mailbox: acknowledged mail becomes visible when the disk works
 * again, new mail gets 4yz, and the server starts and stops with the failed disk. Skipped without
 * root, loop devices and device-mapper.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { sendMessage } from "../../process/support/client.ts";
import { countStored, startLoad } from "../../process/support/load.ts";
import { filesIn, type Server, serve } from "../../process/support/postbag.ts";
import { missing, RecordedDisk } from "../../support/recorded-disk/index.ts";
import { atEnd, temporaryDirectory } from "../../support/temporary.ts";
import { fill, mountSmallDisk, whyNoDisk } from "./small-disk.ts";

const small = ["--journal-segment-bytes", "512KiB", "--journal-segments", "4"];
/** With these flags acknowledged mail after the first message stays ten minutes in the journal. */
const heldBack = ["--publish-within-ms", "600000"];
/** With these flags acknowledged mail after the first message stays 20 seconds in the journal. */
const heldBriefly = ["--publish-within-ms", "20000"];

function send(server: Server, subject: string, to = "you@localhost") {
  return sendMessage(server.smtpPort, `Subject: ${subject}\n\nIt works.`, { to });
}

/** Sends messages at the same time; each must be accepted. */
async function sendAll(server: Server, subjects: readonly string[]): Promise<void> {
  const answers = await Promise.all(subjects.map((subject) => send(server, subject)));
  assert.deepEqual(
    answers.filter((answer) => !/^250 /.test(answer ?? "")),
    [],
  );
}

function numbered(word: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${word} ${index}`);
}

/** The subjects in a mailbox, sorted; each message must be complete. */
function subjectsIn(data: string, mailbox = "localhost/you"): string[] {
  return [...filesIn(data, mailbox).values()]
    .map((content) => {
      assert.match(content, /\n\nIt works\.\n$/);
      return /^Subject: (.*)$/m.exec(content)?.[1] ?? "";
    })
    .sort();
}

async function reasonNotReady(server: Server): Promise<string> {
  const answer = await fetch(`${server.http}/readyz`);
  assert.equal(answer.status, 503);
  return answer.text();
}

/** Mounts a mounted disk also at `at`, as an operator mounts a disk below the data directory. */
function bind(t: TestContext, disk: string, at: string): void {
  mkdirSync(at, { recursive: true });
  execFileSync("mount", ["--bind", disk, at]);
  atEnd(t, () => execFileSync("umount", [at]));
}

for (const [where, journalIsElsewhere] of [
  ["journal on another disk", true],
  ["journal on the same disk", false],
] as const) {
  const place = (t: TestContext) => {
    const disk = mountSmallDisk(t, temporaryDirectory(t), { megabytes: 48 });
    const data = journalIsElsewhere ? join(temporaryDirectory(t), "data") : join(disk.path, "data");
    if (journalIsElsewhere) bind(t, disk.path, join(data, "mail"));
    return { data, filler: join(disk.path, "filler") };
  };

  test(`a full disk delays publishing until the disk has room, ${where}`, async (t) => {
    const reason = whyNoDisk();
    if (reason) return t.skip(reason);
    const { data, filler } = place(t);
    const server = await serve(t, data, [...small, ...heldBriefly]);
    const sent: string[] = [];
    for (let attempt = 0; ; attempt++) {
      assert.ok(attempt < 5, "the disk was never full in time");
      sent.push(...numbered(`before ${attempt}`, 8));
      await sendAll(server, sent.slice(-1));
      await server.published();
      await sendAll(server, sent.slice(-8, -1));
      fill(filler);
      if (subjectsIn(data).length < sent.length) break;
      rmSync(filler);
    }
    await server.logged(
      /"reason":".*ENOSPC.*publishing failed; the mail stays in the journal and is retried/,
    );
    for (const to of ["you@localhost", "new@localhost"]) {
      assert.match((await send(server, "refused", to)) ?? "", /^452 4\.3\.1 /, to);
    }
    assert.match(await reasonNotReady(server), /ENOSPC/);
    rmSync(filler);
    await server.published();
    assert.deepEqual(subjectsIn(data), sent.sort());
    assert.match((await send(server, "after")) ?? "", /^250 /);
    assert.equal((await server.stop()).code, 0);
    assert.deepEqual(subjectsIn(data), [...sent, "after"].sort());
  });

  test(`a restart on a full disk recovers once there is room, ${where}`, async (t) => {
    const reason = whyNoDisk();
    if (reason) return t.skip(reason);
    const { data, filler } = place(t);
    const first = await serve(t, data, [...small, ...heldBack]);
    const sent = numbered("kept", 9);
    await sendAll(first, sent.slice(0, 1));
    await first.published();
    await sendAll(first, sent.slice(1));
    assert.deepEqual(subjectsIn(data), sent.slice(0, 1));
    fill(filler);
    await first.stop("SIGKILL");
    const second = await serve(t, data, small);
    assert.match((await send(second, "refused")) ?? "", /^45[12] 4\./);
    // A released segment of the journal may be room enough to stage these few messages: then the
    // reason is the free space instead of ENOSPC.
    assert.match(await reasonNotReady(second), /ENOSPC|bytes are free/);
    rmSync(filler);
    while (!/^250 /.test((await send(second, "later")) ?? ""));
    await second.published();
    assert.deepEqual(subjectsIn(data), [...sent, "later"].sort());
    assert.equal((await second.stop()).code, 0);
  });
}

test("mail gets 4yz on a full journal disk, and the next start has room to recover", async (t) => {
  const reason = whyNoDisk();
  if (reason) return t.skip(reason);
  const disk = mountSmallDisk(t, temporaryDirectory(t), { megabytes: 16 });
  const data = join(temporaryDirectory(t), "data");
  const flags = [...small, "--journal", join(disk.path, "journal")];
  const first = await serve(t, data, [...flags, ...heldBack]);
  const filler = join(disk.path, "filler");
  const sent = ["first"];
  await sendAll(first, sent);
  await first.published();
  fill(filler);
  // Publishing waits for ten minutes, so the existing segments fill up.
  for (;;) {
    const subject = `kept ${sent.length}`;
    const answer = (await send(first, subject)) ?? "no answer";
    if (answer.startsWith("250 ")) sent.push(subject);
    else assert.match(answer, /^452 4\.3\.1 /);
    if (answer.startsWith("452 ")) break;
    assert.ok(sent.length < 2_000, "the journal was never full");
  }
  await first.stop("SIGKILL");

  const second = await serve(t, data, flags);
  await second.published();
  assert.deepEqual(subjectsIn(data), sent.sort());
  rmSync(filler);
  assert.match((await send(second, "after")) ?? "", /^250 /);
  assert.equal((await second.stop()).code, 0);
});

test("a first start without room for the journal gives 451 until there is room", async (t) => {
  const reason = whyNoDisk();
  if (reason) return t.skip(reason);
  const disk = mountSmallDisk(t, temporaryDirectory(t), { megabytes: 16 });
  const filler = join(disk.path, "filler");
  fill(filler);
  const journal = ["--journal", join(disk.path, "journal")];
  const server = await serve(t, join(temporaryDirectory(t), "data"), [...small, ...journal]);
  assert.match((await send(server, "refused")) ?? "", /^451 4\.3\.0 /);
  assert.match(await reasonNotReady(server), /ENOSPC/);
  rmSync(filler);
  await server.logged(/journal opened; mail is accepted/);
  assert.match((await send(server, "after")) ?? "", /^250 /);
  assert.equal((await server.stop()).code, 0);
});

test("mail for a volume that became read-only gets 451 until it is writable again", async (t) => {
  const reason = whyNoDisk();
  if (reason) return t.skip(reason);
  const disk = mountSmallDisk(t, temporaryDirectory(t), { mountOptions: "errors=remount-ro" });
  const device = basename(
    execFileSync("findmnt", ["-no", "SOURCE", disk.path], { encoding: "utf8" }).trim(),
  );
  const trigger = `/sys/fs/ext4/${device}/trigger_fs_error`;
  if (!existsSync(trigger)) return t.skip("needs trigger_fs_error of ext4");
  const data = join(temporaryDirectory(t), "data");
  const mailOf = join(data, "mail/localhost");
  mkdirSync(mailOf, { recursive: true });
  execFileSync("mount", ["--bind", disk.path, mailOf]);
  atEnd(t, () => spawnSync("umount", [mailOf]));
  const domain = ["--domain", "other.example", "--mailboxes", "create"];
  const other = "you@other.example";

  const first = await serve(t, data, [...small, ...heldBriefly, ...domain]);
  const sent = numbered("kept", 9);
  await sendAll(first, sent.slice(0, 1));
  await first.published();
  await sendAll(first, sent.slice(1));
  writeFileSync(trigger, "1");
  await first.logged(/publishing failed; the mail stays in the journal and is retried/);
  for (const to of ["you@localhost", "new@localhost"]) {
    assert.match((await send(first, "refused", to)) ?? "", /^451 4\.3\.0 /, to);
  }
  assert.match((await send(first, "elsewhere", other)) ?? "", /^250 /);
  assert.match(await reasonNotReady(first), /EROFS/);
  assert.equal((await first.stop()).code, 0);

  // A disk that the kernel made read-only after an error must be mounted anew. Then the test
  // remounts the disk read-only for the second server.
  execFileSync("umount", [mailOf]);
  disk.mountAgain();
  execFileSync("mount", ["--bind", disk.path, mailOf]);
  disk.remount("ro");
  const second = await serve(t, data, [...small, ...domain]);
  assert.match((await send(second, "refused")) ?? "", /^451 4\.3\.0 /);
  assert.match((await send(second, "elsewhere too", other)) ?? "", /^250 /);
  disk.remount("rw");
  await second.logged(/volume available again/);
  await second.published();
  assert.deepEqual(subjectsIn(data), sent.sort());
  assert.deepEqual(subjectsIn(data, "other.example/you"), ["elsewhere", "elsewhere too"]);
  assert.match((await send(second, "after", "new@localhost")) ?? "", /^250 /);
  assert.equal((await second.stop()).code, 0);
});

test("a disk that hangs for ten seconds under load loses no mail, and service resumes", async (t) => {
  const reason = missing("ext4");
  if (reason) return t.skip(reason);
  const disk = await RecordedDisk.up({ fileSystem: "ext4" });
  atEnd(t, () => disk.down());
  const mailboxes = Array.from({ length: 8 }, (_, index) => `user${index}@localhost`);
  const limits = ["--admission-timeout-ms", "1000", "--journal-segment-bytes", "4MiB"];
  const server = await serve(t, join(disk.mountPoint, "data"), limits);
  // 160 clients are more than fit into two batches. Messages in the write under way are answered
  // when the disk works again; the others get 452.
  const load = startLoad([server.smtpPort, server.lmtpPort], mailboxes, 160);
  await load.reached(300);
  const idleBytes = residentBytes(server);

  await disk.configure({ flushes: "stall" });
  const hanging = pause(10_000);
  await load.refused(1);
  const before = load.acknowledged.size;
  await load.refused(100);
  await hanging;
  const grownMiB = (residentBytes(server) - idleBytes) / 2 ** 20;
  assert.equal(load.acknowledged.size, before, "no message is accepted without the disk");
  await disk.configure({ flushes: "work" });

  await load.reached(before + 300);
  load.stop();
  await load.ended;
  await server.published();
  const stored = countStored(server.data, mailboxes);
  assert.deepEqual(new Set(stored.keys()), load.acknowledged);
  assert.deepEqual(
    [...stored.values()].filter((count) => count !== 1),
    [],
  );
  const others = [...load.refusals.keys()].filter((answer) => !answer.startsWith("452 4.3.1 "));
  assert.deepEqual(others, []);
  assert.ok(grownMiB < 200, `grew by ${grownMiB} MiB`);
  assert.equal((await server.stop()).code, 0);
  const refused = [...load.refusals.values()].reduce((sum, count) => sum + count, 0);
  t.diagnostic(
    `${refused} deferred and ${grownMiB.toFixed(0)} MiB more while the disk hung; ${stored.size} accepted, each stored once`,
  );
});

function residentBytes({ pid }: Server): number {
  const [, kibibytes = "0"] =
    /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kibibytes) * 1024;
}
