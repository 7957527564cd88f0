/**
 * Real power cuts of the SQLite store: mail is enqueued and sent on a disk with a volatile write
 * cache; the recording of the disk's writes, SQLite's checkpoints included, is cut at many
 * instants.
 *
 * Environment: POSTBAG_FAULT_ROUNDS=20 makes twenty times as many cuts.
 */
import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openSqliteStore, Worker } from "../../../src/outbox/index.ts";
import { rounds } from "../../outbox/faults/support/fault-harness.ts";
import { newMessage } from "../../outbox/faults/support/outbox-expectations.ts";
import {
  type Cut,
  type FileSystemName,
  fileSystems,
  ignoringFlushes,
  imagesAfter,
  keeps,
  missing,
  mountImage,
  newDirectory,
  nowNs,
  RecordedDisk,
  type Recording,
  release,
  unmount,
  untornBlocks,
} from "../../support/recorded-disk/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

/** A fact that was reported as durable. */
interface Reported {
  readonly atNs: number;
  readonly id: string;
  readonly what: "enqueued" | "intended" | "sent";
}

interface Run {
  readonly recording: Recording;
  readonly reported: readonly Reported[];
  readonly startedNs: number;
}

const messages = 240;
const fileName = "outbox.db";

/** Enqueues from many callers and sends at the same time, until all is sent. */
async function recordRun(fileSystem: FileSystemName): Promise<Run> {
  await using disk = await RecordedDisk.up({ fileSystem, flushMs: 1, record: true });
  const startedNs = nowNs();
  const store = await openSqliteStore({ file: join(disk.mountPoint, fileName) });
  const reported: Reported[] = [];
  const report = (what: Reported["what"], id: string) => reported.push({ atNs: nowNs(), id, what });
  const ids = new Map<string, string>();
  const worker = new Worker({
    store,
    concurrency: 8,
    pollMs: [5, 20],
    senderOf: () => async (envelope, _, given) => {
      const id = ids.get(envelope.recipients[0] ?? "") ?? "";
      await given.beforeCommit?.();
      report("intended", id);
      const reply = { code: 250, text: "Taken", phase: "message" } as const;
      return envelope.recipients.map(() => ({ kind: "delivered", reply }));
    },
    onEvent: (event) => {
      if (event.kind === "sent") report("sent", event.deliveryId.replace(/\.1$/, ""));
    },
  });
  worker.start();
  let left = messages;
  const caller = async () => {
    while (left-- > 0) {
      // In total more than SQLite's log holds, so that SQLite copies the log into the database.
      const message = newMessage({ bytes: Buffer.alloc(90_000, "line of text\r\n") });
      ids.set(message.deliveries[0]?.recipients[0]?.address ?? "", message.id);
      await store.enqueue([message]);
      report("enqueued", message.id);
    }
  };
  await Promise.all(Array.from({ length: 8 }, caller));
  while (worker.stats().carried.sent < messages) await new Promise((done) => setTimeout(done, 20));
  await worker.stop();
  await store.close();
  return { recording: await disk.recording(), reported, startedNs };
}

/**
 * Cuts the power `count` times, each just after a report; resolves with the reported facts lost.
 */
async function lostAfter(
  fileSystem: FileSystemName,
  { recording, reported }: Run,
  count: number,
): Promise<string[]> {
  const random = new SeededRandom(20_27);
  const cuts: Cut[] = Array.from({ length: count }, (_, index) => ({
    atNs: reported[random.below(reported.length)]?.atNs ?? 0,
    keep: keeps[index % keeps.length] as Cut["keep"],
    seed: index,
  }));
  const directory = newDirectory();
  const mountPoint = join(directory, "mnt");
  const image = join(directory, "image");
  mkdirSync(mountPoint, { recursive: true });
  const lost: string[] = [];
  try {
    for (const { cut, extents } of imagesAfter(recording, cuts, untornBlocks[fileSystem])) {
      rmSync(image, { force: true });
      const file = openSync(image, "wx", 0o600);
      ftruncateSync(file, recording.sizeBytes);
      for (const { offset, bytes } of extents) writeSync(file, bytes, 0, bytes.length, offset);
      closeSync(file);
      try {
        await mountImage(fileSystem, image, mountPoint);
        lost.push(...(await lostFacts(mountPoint, reported, cut)));
      } catch (error) {
        lost.push(`${cut.keep} at ${cut.atNs}: ${error}`);
      } finally {
        await unmount(mountPoint).catch(() => {});
      }
    }
  } finally {
    await release(directory);
    rmSync(directory, { recursive: true, force: true });
  }
  return lost;
}

async function lostFacts(
  mountPoint: string,
  reported: readonly Reported[],
  cut: Cut,
): Promise<string[]> {
  const store = await openSqliteStore({ file: join(mountPoint, fileName) });
  const lost: string[] = [];
  try {
    for (const { id, what, atNs } of reported) {
      if (atNs > cut.atNs) continue;
      const row = await store.get(id);
      const isThere = {
        enqueued: () => row !== undefined,
        intended: () => (row?.deliveries[0]?.attempts ?? 0) > 0,
        sent: () => row?.deliveries[0]?.state === "done",
      };
      if (!isThere[what]()) lost.push(`${what} ${id}, ${cut.keep} at ${cut.atNs}`);
    }
  } finally {
    await store.close();
  }
  return lost;
}

for (const fileSystem of fileSystems) {
  test(`${fileSystem}: no power cut undoes an enqueue, an intent or an outcome`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    const run = await recordRun(fileSystem);
    assert.equal(run.reported.length, 3 * messages);
    assert.deepEqual(await lostAfter(fileSystem, run, 10 * rounds), []);
    await t.test("a disk that only claims to flush loses some", async () => {
      const recording = ignoringFlushes(run.recording, run.startedNs);
      assert.notDeepEqual(await lostAfter(fileSystem, { ...run, recording }, 5), []);
    });
  });
}
