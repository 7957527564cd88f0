/**
 * Flushes of the device for one commit of the journal, counted by the disk itself: one, and two on
 * btrfs, because there a synchronous write goes through the log of the file system.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { Journal } from "../../../src/journal/index.ts";
import { fileSystems, missing, RecordedDisk } from "../../support/recorded-disk/index.ts";

const commits = 40;
const flushesPerCommit = { ext4: 1, xfs: 1, btrfs: 2 } as const;

for (const fileSystem of fileSystems) {
  const each = flushesPerCommit[fileSystem];
  test(`${fileSystem}: 64 messages in a frame cost ${each === 1 ? "one flush" : "two flushes"}`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    await using disk = await RecordedDisk.up({ fileSystem });
    const directory = join(disk.mountPoint, "journal");
    const options = { directory, segmentBytes: 16 * 1024 * 1024, maxSegments: 4 };
    await using journal = (await Journal.open(options)).journal;
    while (journal.stats().spareSegments < 2) await turn();
    const messages = Array.from({ length: 64 }, (_, n) => Buffer.alloc(1024, n));
    const before = (await disk.counters()).flushes;
    for (let n = 0; n < commits; n += 1) await journal.append(messages, ["mail"]);
    const flushes = (await disk.counters()).flushes - before;
    t.diagnostic(`${flushes} flushes for ${commits} commits of 64 messages on ${fileSystem}`);
    // Meanwhile the file system may commit its own log, once.
    const min = each * commits;
    assert.ok(flushes >= min && flushes <= min + 2, `${flushes} flushes`);
  });
}
