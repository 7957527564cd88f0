/**
 * The rig itself: its verdict counts only if it catches methods that lose mail, and if its disk
 * behaves like a disk with a write cache. Needs root and loop devices.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import {
  type Cut,
  type FileSystemName,
  fileSystems,
  imagesAfter,
  missing,
  RecordedDisk,
} from "../../support/recorded-disk/index.ts";
import { messageBody } from "./messages.ts";
import type { Method } from "./methods.ts";
import { chooseCuts, cutAtEnd, cutPower } from "./power-cut.ts";
import { recordRun } from "./record-run.ts";
import { type Tally, tally } from "./report.ts";

const seed = 7;

/**
 * Whether cuts of a run show the fault. There is one caller, so that no other caller's flush covers
 * the missing one. If each cut fell after another flush of the same caller, a new run is tried.
 */
async function shows(
  fileSystem: FileSystemName,
  method: Method,
  isFault: (found: Tally) => boolean,
): Promise<boolean> {
  for (let round = 0; round < 8; round += 1) {
    const load = { method, seed: seed + round, messages: 80, callers: 1, together: 8 };
    const run = await recordRun(fileSystem, load);
    const cuts = [...chooseCuts(run, 5, seed + round), cutAtEnd(run)];
    const found = tally(await cutPower(run, cuts));
    assert.ok(found.checked > 0, "the cuts come after acknowledgements");
    if (isFault(found)) return true;
  }
  return false;
}

const isLost = ({ lost }: Tally) => lost > 0;
const isLostOrDamaged = ({ lost, damaged }: Tally) => lost + damaged > 0;
const isAnyFault = ({ lost, damaged, partial }: Tally) => lost + damaged + partial > 0;

for (const fileSystem of fileSystems) {
  test(`${fileSystem}: directory syncs alone lose or empty acknowledged mail`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    assert.ok(await shows(fileSystem, "directory syncs only", isLostOrDamaged));
  });

  test(`${fileSystem}: without data syncs acknowledged mail is lost or empty`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    assert.ok(await shows(fileSystem, "maildir without data syncs", isLostOrDamaged));
  });

  test(`${fileSystem}: without directory syncs acknowledged mail is lost`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    assert.ok(await shows(fileSystem, "maildir without name syncs", isLost));
  });

  test(`${fileSystem}: a journal without flushes loses acknowledged mail`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    assert.ok(await shows(fileSystem, "journal, written without flushes", isLost));
  });

  test(`${fileSystem}: DURABLE before the data flush loses or empties acknowledged mail`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    assert.ok(await shows(fileSystem, "journal, marked before the checkpoint", isAnyFault));
  });

  // On btrfs a write to the log often commits the names as well: most runs do not show the fault.
  if (fileSystem === "btrfs") continue;
  test(`${fileSystem}: PUBLISHED before the name flushes loses acknowledged mail`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    assert.ok(await shows(fileSystem, "journal, settled before the names", isLost));
  });
}

test("a sync ends only after the disk has answered the flush", async (t) => {
  const lack = missing("ext4");
  if (lack !== undefined) return t.skip(lack);
  await using disk = await RecordedDisk.up({ fileSystem: "ext4" });
  await using file = await open(join(disk.mountPoint, "file"), "w");
  await file.write("mail");
  const before = await disk.counters();
  await disk.configure({ flushes: "stall" });
  let synced = false;
  const sync = file.sync().then(() => {
    synced = true;
  });
  while ((await disk.counters()).stalled === 0) {}
  assert.equal(synced, false);
  await disk.configure({ flushes: "work" });
  await sync;
  assert.ok((await disk.counters()).flushes > before.flushes);
});

test("a recording reproduces every byte of the disk", async (t) => {
  const lack = missing("btrfs");
  if (lack !== undefined) return t.skip(lack);
  await using disk = await RecordedDisk.up({ fileSystem: "btrfs", sizeMb: 128, record: true });
  for (const serial of [1, 2, 61]) {
    writeFileSync(join(disk.mountPoint, `${serial}`), messageBody(seed, serial), { flush: true });
  }
  // Read-only from here, so that the image is read in one state.
  execFileSync("mount", ["-o", "remount,ro", disk.mountPoint]);
  const whole = readFileSync(join(dirname(disk.mountPoint), "disk"));
  const recording = await disk.recording();
  const replayed = Buffer.alloc(whole.length);
  const end: Cut = { atNs: Number.POSITIVE_INFINITY, keep: "all", seed };
  for (const { extents } of imagesAfter(recording, [end])) {
    for (const { offset, bytes } of extents) replayed.set(bytes, offset);
  }
  assert.ok(replayed.equals(whole));
  assert.ok(whole.includes(messageBody(seed, 61)), "the disk contains the mail");
});

for (const fault of ["flushes", "writes"] as const) {
  test(`fsync fails with EIO when the ${fault} of the disk fail`, async (t) => {
    const lack = missing("ext4");
    if (lack !== undefined) return t.skip(lack);
    await using disk = await RecordedDisk.up({ fileSystem: "ext4" });
    const file = openSync(join(disk.mountPoint, "file"), "w");
    writeSync(file, "mail");
    await disk.configure({ [fault]: "fail" });
    assert.throws(() => fsyncSync(file), { code: "EIO" });
    closeSync(file);
  });
}

function isMounted(path: string): boolean {
  return readFileSync("/proc/self/mounts", "utf8").includes(` ${path} `);
}

test("down() detaches the disk and removes its files, also when called twice", async (t) => {
  const lack = missing("btrfs");
  if (lack !== undefined) return t.skip(lack);
  const disk = await RecordedDisk.up({ fileSystem: "btrfs" });
  assert.ok(isMounted(disk.mountPoint));
  await disk.down();
  await disk.down();
  assert.ok(!isMounted(disk.mountPoint));
  assert.ok(!existsSync(dirname(disk.mountPoint)));
});

test("down() works after the disk's own process was killed", async (t) => {
  const lack = missing("ext4");
  if (lack !== undefined) return t.skip(lack);
  const disk = await RecordedDisk.up({ fileSystem: "ext4" });
  process.kill(disk.pid, "SIGKILL");
  await disk.down();
  assert.ok(!isMounted(disk.mountPoint));
  assert.ok(!existsSync(dirname(disk.mountPoint)));
});

test("a disk is removed when its owner ends, even by kill -9", async (t) => {
  const lack = missing("ext4");
  if (lack !== undefined) return t.skip(lack);
  const door = join(import.meta.dirname, "../../support/recorded-disk/index.ts");
  const program = `
    import { RecordedDisk } from ${JSON.stringify(door)};
    console.log((await RecordedDisk.up({ fileSystem: "ext4" })).mountPoint);
    setInterval(() => {}, 60_000);`;
  const owner = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(owner.stdout, "data");
  const mountPoint = String(line).trim();
  assert.ok(isMounted(mountPoint));
  owner.kill("SIGKILL");
  while (existsSync(dirname(mountPoint))) await pause(10);
  assert.ok(!isMounted(mountPoint));
});
