/**
 * The rig itself, proved: its verdict counts only if it catches what is known to lose mail, passes what
 * is known to keep it, and its disk does what a disk with a write cache does.
 */
import assert from "node:assert/strict";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import {
  type FileSystemName,
  fileSystems,
  ignoringFlushes,
  missing,
  RecordedDisk,
} from "../support/recorded-disk/index.ts";
import type { Method } from "./methods.ts";
import { chooseCuts, cutPower, type Run, recordRun } from "./power-cut.ts";
import { broken, tally } from "./report.ts";

const seed = 7;

/** One caller, so that nobody else's flush comes to the help of what was forgotten. */
function alone(fileSystem: FileSystemName, method: Method): Promise<Run> {
  return recordRun(fileSystem, { method, seed, messages: 80, callers: 1, together: 8 });
}

function cutsOf(run: Run) {
  return chooseCuts(run, 12, seed);
}

for (const fileSystem of fileSystems) {
  test(`${fileSystem}: files, names and directories synced by hand survive, unless the disk ignores flushes`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    const run = await alone(fileSystem, "by hand");
    const results = await cutPower(run, cutsOf(run));
    assert.deepEqual(broken(run, results), []);
    const lying = { ...run, recording: ignoringFlushes(run.recording, run.startedNs) };
    const { lost, damaged, checked } = tally(await cutPower(lying, cutsOf(run)));
    assert.ok(lost + damaged > 0, `none of ${checked} lost`);
  });

  test(`${fileSystem}: syncing only the directories empties or loses acknowledged mail`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    const run = await alone(fileSystem, "by hand, no data sync");
    const { lost, damaged, checked } = tally(await cutPower(run, cutsOf(run)));
    assert.ok(lost + damaged > 0, `none of ${checked} lost or damaged`);
  });

  test(`${fileSystem}: syncing only the files loses acknowledged mail`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    const run = await alone(fileSystem, "by hand, no name sync");
    const { lost, checked } = tally(await cutPower(run, cutsOf(run)));
    assert.ok(lost > 0, `none of ${checked} lost`);
  });
}

test("a sync ends only when the disk has answered a flush, however long that takes", async (t) => {
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

for (const fault of ["flushes", "writes"] as const) {
  test(`a disk whose ${fault} fail makes a sync fail`, async (t) => {
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

test("a disk leaves nothing attached when it is taken down", async (t) => {
  const lack = missing("btrfs");
  if (lack !== undefined) return t.skip(lack);
  const disk = await RecordedDisk.up({ fileSystem: "btrfs" });
  const directory = dirname(disk.mountPoint);
  await disk.down();
  await disk.down();
  assert.ok(!readFileSync("/proc/self/mounts", "utf8").includes(directory));
  assert.ok(!existsSync(directory));
});
