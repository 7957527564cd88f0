/**
 * Real power cuts of the SQLite store: mail is enqueued and sent on a disk with a volatile write
 * cache, and the recording of it is cut, its own checkpoints included.
 *
 * `POSTBAG_FAULT_ROUNDS=20` makes twenty times as many cuts.
 */
import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openSqliteStore, Worker } from "../../../src/outbox/index.ts";
import { rounds } from "../../outbox/faults/support/fault-harness.ts";
import { letter } from "../../outbox/faults/support/outbox-expectations.ts";
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

/** What was told to be durable, and when. */
interface Told {
  readonly atNs: number;
  readonly id: string;
  readonly what: "enqueued" | "intended" | "sent";
}

interface Run {
  readonly recording: Recording;
  readonly told: readonly Told[];
  readonly startedNs: number;
}

const letters = 240;
const fileName = "outbox.db";

/** Enqueues from many callers and sends at the same time, to the end. */
async function recordRun(fileSystem: FileSystemName): Promise<Run> {
  await using disk = await RecordedDisk.up({ fileSystem, flushMs: 1, record: true });
  const startedNs = nowNs();
  const store = await openSqliteStore({ file: join(disk.mountPoint, fileName) });
  const told: Told[] = [];
  const tell = (what: Told["what"], id: string) => told.push({ atNs: nowNs(), id, what });
  const ids = new Map<string, string>();
  const worker = new Worker({
    store,
    concurrency: 8,
    pollMs: [5, 20],
    senderOf: () => async (envelope, _, given) => {
      const id = ids.get(envelope.recipients[0] ?? "") ?? "";
      await given.beforeCommit?.();
      tell("intended", id);
      const reply = { code: 250, text: "Taken", phase: "message" } as const;
      return envelope.recipients.map(() => ({ kind: "delivered", reply }));
    },
    onEvent: (event) => {
      if (event.kind === "sent") tell("sent", event.deliveryId.replace(/\.1$/, ""));
    },
  });
  worker.start();
  let left = letters;
  const caller = async () => {
    while (left-- > 0) {
      // In sum more than the log holds, so that it is copied into the database on the way.
      const message = letter({ bytes: Buffer.alloc(90_000, "line of text\r\n") });
      ids.set(message.deliveries[0]?.recipients[0]?.address ?? "", message.id);
      await store.enqueue([message]);
      tell("enqueued", message.id);
    }
  };
  await Promise.all(Array.from({ length: 8 }, caller));
  while (worker.stats().carried.sent < letters) await new Promise((done) => setTimeout(done, 20));
  await worker.stop();
  await store.close();
  return { recording: await disk.recording(), told, startedNs };
}

/** Cuts the power just after something was told, so many times; says what is missing then. */
async function missingAfter(
  fileSystem: FileSystemName,
  { recording, told }: Run,
  count: number,
): Promise<string[]> {
  const random = new SeededRandom(20_27);
  const cuts: Cut[] = Array.from({ length: count }, (_, index) => ({
    atNs: told[random.below(told.length)]?.atNs ?? 0,
    keep: keeps[index % keeps.length] as Cut["keep"],
    seed: index,
  }));
  const directory = newDirectory();
  const mountPoint = join(directory, "mnt");
  const image = join(directory, "image");
  mkdirSync(mountPoint, { recursive: true });
  const lacks: string[] = [];
  try {
    for (const { cut, extents } of imagesAfter(recording, cuts, untornBlocks[fileSystem])) {
      rmSync(image, { force: true });
      const file = openSync(image, "wx", 0o600);
      ftruncateSync(file, recording.sizeBytes);
      for (const { offset, bytes } of extents) writeSync(file, bytes, 0, bytes.length, offset);
      closeSync(file);
      try {
        await mountImage(fileSystem, image, mountPoint);
        lacks.push(...(await lacking(mountPoint, told, cut)));
      } catch (error) {
        lacks.push(`${cut.keep} at ${cut.atNs}: ${error}`);
      } finally {
        await unmount(mountPoint).catch(() => {});
      }
    }
  } finally {
    await release(directory);
    rmSync(directory, { recursive: true, force: true });
  }
  return lacks;
}

async function lacking(mountPoint: string, told: readonly Told[], cut: Cut): Promise<string[]> {
  const store = await openSqliteStore({ file: join(mountPoint, fileName) });
  const lacks: string[] = [];
  try {
    for (const { id, what, atNs } of told) {
      if (atNs > cut.atNs) continue;
      const row = await store.get(id);
      const isThere = {
        enqueued: () => row !== undefined,
        intended: () => (row?.deliveries[0]?.attempts ?? 0) > 0,
        sent: () => row?.deliveries[0]?.state === "done",
      };
      if (!isThere[what]()) lacks.push(`${what} ${id}, ${cut.keep} at ${cut.atNs}`);
    }
  } finally {
    await store.close();
  }
  return lacks;
}

for (const fileSystem of fileSystems) {
  test(`${fileSystem}: no power cut undoes an enqueue, an intent or an outcome`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    const run = await recordRun(fileSystem);
    assert.equal(run.told.length, 3 * letters);
    assert.deepEqual(await missingAfter(fileSystem, run, 10 * rounds), []);
    await t.test("while a disk that only claims to flush loses some", async () => {
      const recording = ignoringFlushes(run.recording, run.startedNs);
      assert.notDeepEqual(await missingAfter(fileSystem, { ...run, recording }, 5), []);
    });
  });
}
