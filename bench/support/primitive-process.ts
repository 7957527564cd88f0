/** The child process of primitives.ts: flushes batches in one way and prints figures as JSON. */
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  type Delivery,
  deliverAll,
} from "../../src/maildir/index.ts";
import { nodeFileSystem, openFileSystemSync, systemClock } from "../../src/system/index.ts";
import type { Flush, PrimitiveLoad, PrimitiveResult } from "./primitives.ts";
import { quantile } from "./table.ts";

const [, , flush, loadText = ""] = process.argv;
const load = JSON.parse(loadText) as PrimitiveLoad;
const body = new Uint8Array(load.bodyBytes).fill(0x78);
const boxes = Array.from({ length: load.mailboxes }, (_, i) => join(load.directory, `u${i}`));
let files = 0;
for (const box of boxes) {
  for (const folder of ["new", "cur", "tmp"]) mkdirSync(join(box, folder), { recursive: true });
}

const commit = await committer(flush as Flush);
await commit(nextBatch());
const batchMs: number[] = [];
const startedMs = performance.now();
const untilMs = startedMs + load.seconds * 1000;
await Promise.all(
  Array.from({ length: load.flushes }, async () => {
    while (performance.now() < untilMs) {
      const batch = nextBatch();
      const beganMs = performance.now();
      await commit(batch);
      batchMs.push(performance.now() - beganMs);
    }
  }),
);
const result: PrimitiveResult = {
  perSecond: ((batchMs.length * load.batch) / (performance.now() - startedMs)) * 1000,
  p50Ms: quantile(batchMs, 0.5),
  p99Ms: quantile(batchMs, 0.99),
};
process.stdout.write(JSON.stringify(result), () => process.exit());

/** A batch whose messages go to random mailboxes. */
function nextBatch(): Delivery[] {
  return Array.from({ length: load.batch }, () => ({
    maildir: boxes[Math.floor(Math.random() * boxes.length)]!,
    body,
  }));
}

async function committer(way: Flush): Promise<(batch: readonly Delivery[]) => Promise<void>> {
  if (way === "one by one") return async (batch) => batch.forEach(deliverAlone);
  if (way === "names only") return async (batch) => unsafeBatch(batch);
  const each: DeliverTools = {
    fileSystem: nodeFileSystem,
    clock: systemClock,
    names: createNameSource({ clock: systemClock }),
    known: createKnownMailboxes(),
    root: load.directory,
  };
  if (way === "each") return (batch) => delivered(batch, each);
  const helper = await openFileSystemSync(load.directory);
  if (helper === undefined) throw new Error("no file system flush on this machine");
  const bulk: DeliverTools = {
    ...each,
    syncFileSystem: () => helper.sync(),
    syncPlan: (phase) => (way === "bulk" || phase === "data" ? "bulk" : "each"),
  };
  return (batch) => delivered(batch, bulk);
}

async function delivered(batch: readonly Delivery[], tools: DeliverTools): Promise<void> {
  for (const result of await deliverAll(batch, tools)) if (!result.ok) throw result.error;
}

function write(maildir: string, sync: boolean): string {
  const name = `${process.pid}.${files++}`;
  const file = openSync(join(maildir, "tmp", name), "wx", 0o600);
  writeSync(file, body);
  if (sync) fdatasyncSync(file);
  closeSync(file);
  return name;
}

function syncDirectory(path: string): void {
  const directory = openSync(path, "r");
  fsyncSync(directory);
  closeSync(directory);
}

function deliverAlone({ maildir }: Delivery): void {
  const name = write(maildir, true);
  renameSync(join(maildir, "tmp", name), join(maildir, "new", name));
  syncDirectory(join(maildir, "new"));
}

/** The sequence that loses mail in a power cut: it flushes the names, not the data. */
function unsafeBatch(batch: readonly Delivery[]): void {
  for (const [maildir, messages] of Map.groupBy(batch, (delivery) => delivery.maildir)) {
    const names = messages.map(() => write(maildir, false));
    syncDirectory(join(maildir, "tmp"));
    for (const name of names) renameSync(join(maildir, "tmp", name), join(maildir, "new", name));
    syncDirectory(join(maildir, "new"));
  }
}
