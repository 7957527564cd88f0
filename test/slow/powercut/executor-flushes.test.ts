/**
 * Flushes of the device for one batch of the executor with a journal, counted by the disk itself:
 * one for 64 messages to 64 mailboxes on ext4 and XFS, two on btrfs. Publishing comes later and
 * flushes too; in this test the next round of publishing is half a minute away.
 */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { DeliveryExecutor } from "../../../src/delivery/index.ts";
import { fileSystems, missing, RecordedDisk } from "../../support/recorded-disk/index.ts";

const rounds = 9;
const flushesPerBatch = { ext4: 1, xfs: 1, btrfs: 2 } as const;

for (const fileSystem of fileSystems) {
  const each = flushesPerBatch[fileSystem];
  const cost = each === 1 ? "one flush" : "two flushes";
  test(`${fileSystem}: 64 messages to 64 mailboxes are acknowledged after ${cost}`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    await using disk = await RecordedDisk.up({ fileSystem });
    const mailRoot = join(disk.mountPoint, "mail");
    mkdirSync(mailRoot);
    await using executor = await DeliveryExecutor.open({
      mailRoot,
      commit: {
        journal: join(disk.mountPoint, "journal"),
        segmentBytes: 16 * 1024 * 1024,
        maxSegments: 4,
      },
      publishWithinMs: 60_000,
    });
    const deliverToAll = () => {
      const boxes = Array.from({ length: 64 }, (_, n) => join(mailRoot, `u${n}`));
      return Promise.all(boxes.map((box, n) => executor.deliver(box, Buffer.alloc(1024, n))));
    };
    // Creates the mailboxes and starts a round of publishing; the next one comes 30 s later.
    const ids = await deliverToAll();
    for (const id of ids) await executor.published(id);
    await atRest(disk);

    const { batches } = executor.stats();
    const flushes: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const before = (await disk.counters()).flushes;
      await deliverToAll();
      flushes.push((await disk.counters()).flushes - before);
    }
    t.diagnostic(`flushes of each batch on ${fileSystem}: ${flushes.join(" ")}`);
    assert.equal(executor.stats().batches - batches, rounds, "each round is one batch");
    assert.equal(executor.stats().unpublished, rounds * 64, "no message was published meanwhile");
    const [min, median] = [Math.min(...flushes), flushes.toSorted((a, b) => a - b)[rounds >> 1]];
    // Meanwhile the file system may commit its own log, once.
    const total = flushes.reduce((sum, one) => sum + one, 0);
    assert.deepEqual([min, median], [each, each]);
    assert.ok(total <= rounds * each + 2, `${total} flushes for ${rounds} batches`);
  });
}

/** Waits until writes of spare segments, marks and the file system's log have reached the disk. */
async function atRest(disk: RecordedDisk): Promise<void> {
  let unchanged = 0;
  let last = await disk.counters();
  while (unchanged < 200) {
    const now = await disk.counters();
    unchanged = now.flushes === last.flushes && now.writes === last.writes ? unchanged + 1 : 0;
    last = now;
  }
}
