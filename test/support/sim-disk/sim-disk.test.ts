/** The simulated disk allows every state after a cut that it claims to allow, and no other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "../seeded-random.ts";
import { SimDisk } from "./disk.ts";
import type { SimProcess } from "./process.ts";

function seeds(count: number): SeededRandom[] {
  return Array.from({ length: count }, (_, seed) => new SeededRandom(seed + 1));
}

/** A disk with `/tmp` and `/new`, both durable. */
function prepared(random: SeededRandom): { readonly disk: SimDisk; readonly process: SimProcess } {
  const disk = new SimDisk(random);
  const process = disk.start();
  process.makeDirectory("/tmp", 0o700);
  process.makeDirectory("/new", 0o700);
  disk.root.mount.commit(disk.root.changes);
  return { disk, process };
}

function writeFile(process: SimProcess, path: string, text: string): number {
  const file = process.createExclusive(path, 0o600);
  process.write(file, Buffer.from(text));
  return file;
}

async function flushDirectory(process: SimProcess, path: string): Promise<void> {
  const directory = process.openDirectory(path);
  await process.sync(directory);
  process.close(directory);
}

function textAt(disk: SimDisk, path: string): string | undefined {
  const [directory = "", name = ""] = path.split("/").slice(1);
  const inode = disk.root.names.get(directory)?.names.get(name);
  return inode && Buffer.from(inode.bytes).toString();
}

test("a cut leaves of an unflushed file nothing, all, any length or any sectors", () => {
  const text = "a".repeat(2000);
  const found = new Set<string>();
  for (const random of seeds(300)) {
    const { disk, process } = prepared(random);
    writeFile(process, "/tmp/x", text);
    disk.cut();
    const left = textAt(disk.afterCut(), "/tmp/x");
    if (left === undefined) found.add("no name");
    else if (left === "") found.add("empty");
    else if (left === text) found.add("whole");
    else if (left.length < text.length) found.add("short");
    else if (left.includes("\0")) found.add("torn");
  }
  assert.deepEqual([...found].sort(), ["empty", "no name", "short", "torn", "whole"]);
});

test("a flushed file is whole if its name survives; its name may not", async () => {
  const found = new Set<string | undefined>();
  for (const random of seeds(50)) {
    const { disk, process } = prepared(random);
    await process.syncData(writeFile(process, "/tmp/x", "whole"));
    disk.cut();
    found.add(textAt(disk.afterCut(), "/tmp/x"));
  }
  assert.deepEqual(found, new Set(["whole", undefined]));
});

test("a rename survives as old name, new name or both, never as neither", async () => {
  const found = new Set<string>();
  for (const random of seeds(200)) {
    const { disk, process } = prepared(random);
    await process.syncData(writeFile(process, "/tmp/x", "x"));
    await flushDirectory(process, "/tmp");
    process.rename("/tmp/x", "/new/x");
    if (random.below(2) === 0) await flushDirectory(process, "/tmp");
    disk.cut();
    const after = disk.afterCut();
    found.add(`${textAt(after, "/tmp/x") ?? "-"}${textAt(after, "/new/x") ?? "-"}`);
  }
  assert.deepEqual([...found].sort(), ["-x", "x-", "xx"]);
});

test("a flush of new/ makes the new name durable, one of tmp/ removes the old one", async () => {
  for (const random of seeds(100)) {
    const { disk, process } = prepared(random);
    await process.syncData(writeFile(process, "/tmp/x", "x"));
    process.rename("/tmp/x", "/new/x");
    await flushDirectory(process, "/new");
    assert.equal(textAt(disk.afterCut(), "/new/x"), "x");
    await flushDirectory(process, "/tmp");
    const after = disk.afterCut();
    assert.equal(textAt(after, "/new/x"), "x");
    assert.equal(textAt(after, "/tmp/x"), undefined);
  }
});

test("after a failed flush reads show the new bytes, and no later flush stores them", async () => {
  let lost = 0;
  for (const random of seeds(50)) {
    const { disk, process } = prepared(random);
    const file = writeFile(process, "/tmp/x", "y".repeat(1000));
    await flushDirectory(process, "/tmp");
    disk.faults = [{ errno: "EIO", matches: ({ name }) => name === "fdatasync" }];
    await assert.rejects(process.syncData(file), { code: "EIO", syscall: "fdatasync" });
    disk.faults = [];
    await process.syncData(file);
    assert.equal(textAt(disk, "/tmp/x"), "y".repeat(1000));
    disk.cut();
    if (textAt(disk.afterCut(), "/tmp/x") !== "y".repeat(1000)) lost += 1;
  }
  assert.ok(lost > 25, `${lost} of 50 lost`);
});

test("a failed write-back is reported once to each open descriptor, to no later one", async () => {
  const { disk, process } = prepared(new SeededRandom(1));
  const file = writeFile(process, "/tmp/x", "x");
  const helper = disk.openSync(process);
  assert.ok(disk.failWriteBack());
  const late = process.openForReading("/tmp/x");
  await process.sync(late);
  await assert.rejects(process.syncData(file), { code: "EIO" });
  await process.syncData(file);
  await disk.openSync(process)("/tmp");
  await assert.rejects(helper("/tmp"), { code: "EIO", syscall: "syncfs" });
});

test("a killed process leaves the cache as it is for the next process", async () => {
  const { disk, process } = prepared(new SeededRandom(1));
  const file = writeFile(process, "/tmp/x", "x");
  const flush = process.syncData(file);
  process.kill();
  await assert.rejects(flush, { name: "Gone" });
  assert.throws(() => process.list("/tmp"), { name: "Gone" });
  assert.deepEqual(disk.start().list("/tmp"), ["x"]);
});

test("with ordered names a cut keeps a prefix of the changes, and renames whole", () => {
  const found = new Set<string>();
  for (const random of seeds(200)) {
    const disk = new SimDisk(random, "ordered");
    for (const path of ["/tmp", "/new"]) disk.furnish(path);
    const process = disk.start();
    process.close(process.createExclusive("/tmp/x", 0o600));
    process.rename("/tmp/x", "/new/x");
    process.close(process.createExclusive("/tmp/y", 0o600));
    process.unlink("/new/x");
    disk.cut();
    const after = disk.afterCut().start();
    found.add([...after.list("/tmp"), ...after.list("/new").map((name) => `new ${name}`)].join());
  }
  assert.deepEqual([...found].sort(), ["", "new x", "x", "y", "y,new x"]);
});

test("with ordered names a flush of one directory flushes earlier changes of others", async () => {
  for (const random of seeds(50)) {
    const disk = new SimDisk(random, "ordered");
    for (const path of ["/tmp", "/new", "/cur"]) disk.furnish(path);
    const process = disk.start();
    process.close(process.createExclusive("/tmp/x", 0o600));
    process.rename("/tmp/x", "/new/x");
    process.unlink("/new/x");
    process.close(process.createExclusive("/cur/y", 0o600));
    await flushDirectory(process, "/cur");
    const after = disk.afterCut().start();
    assert.deepEqual([after.list("/tmp"), after.list("/new"), after.list("/cur")], [[], [], ["y"]]);
  }
});

test("a rename into another file system or quota tree fails with EXDEV", async () => {
  const disk = new SimDisk(new SeededRandom(1));
  disk.furnish("/tmp");
  disk.furnish("/other", 2);
  disk.furnish("/tree").tree = 7;
  const process = disk.start();
  process.close(process.createExclusive("/tmp/x", 0o600));
  for (const there of ["/other", "/tree"]) {
    assert.throws(() => process.rename("/tmp/x", `${there}/x`), { code: "EXDEV" });
  }
  assert.deepEqual(process.list("/tmp"), ["x"]);
  assert.notEqual(process.status("/other").device, process.status("/tmp").device);
  assert.equal(process.status("/tree").device, process.status("/tmp").device);
  // A flush of one file system does not flush the other.
  process.close(process.createExclusive("/other/y", 0o600));
  await disk.openSync(process, "/other")("/other");
  assert.deepEqual([...disk.inodeAt("/other")!.durableNames.keys()], ["y"]);
  assert.deepEqual([...disk.inodeAt("/tmp")!.durableNames.keys()], []);
});

test("the same seed gives the same disk after the same cut", async () => {
  const play = async (): Promise<string> => {
    const { disk, process } = prepared(new SeededRandom(42));
    for (let file = 0; file < 20; file += 1) writeFile(process, `/tmp/${file}`, "z".repeat(1500));
    await Promise.all([flushDirectory(process, "/tmp"), flushDirectory(process, "/new")]);
    disk.cut();
    const [...left] = disk.afterCut().root.names.get("tmp")!.names;
    return JSON.stringify(left.map(([name, { bytes }]) => [name, [...bytes]]));
  };
  assert.equal(await play(), await play());
});

test("flushing directories only, a known-bad sequence, loses the data of messages", async () => {
  let damaged = 0;
  for (const random of seeds(100)) {
    const { disk, process } = prepared(random);
    process.close(writeFile(process, "/tmp/x", "a message"));
    await flushDirectory(process, "/tmp");
    process.rename("/tmp/x", "/new/x");
    await flushDirectory(process, "/new");
    disk.cut();
    if (textAt(disk.afterCut(), "/new/x") !== "a message") damaged += 1;
  }
  assert.ok(damaged > 50, `${damaged} of 100 damaged`);
});
