/** The journal through its API, on real files and on a simulated disk. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { crc32 } from "node:zlib";
import { SeededRandom } from "../../test/support/seeded-random.ts";
import { reactions, SimClock } from "../../test/support/sim-clock.ts";
import { SimDisk } from "../../test/support/sim-disk/disk.ts";
import { temporaryDirectory } from "../../test/support/temporary.ts";
import { type FileSystem, nodeFileSystem, systemClock } from "../system/index.ts";
import { Journal, JournalError, type JournalOptions, type Lsn, type Recovery } from "./index.ts";

const small = { segmentBytes: 64 * 1024, maxSegments: 4 };

function temporary(t: TestContext): string {
  return temporaryDirectory(t, "journal");
}

async function open(t: TestContext, options: JournalOptions) {
  const opened = await Journal.open(options);
  t.after(() => opened.journal.close());
  return opened;
}

async function texts(recovery: Recovery): Promise<string[]> {
  const found: string[] = [];
  for (const frame of recovery.frames) found.push(Buffer.from(await frame.read()).toString());
  return found;
}

function frame(text: string): readonly Uint8Array[] {
  return [Buffer.from(text)];
}

async function rejects(promise: Promise<unknown>, code: string): Promise<JournalError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof JournalError, `rejects with a JournalError, not ${String(error)}`);
  assert.equal(error.code, code);
  return error;
}

test("appended frames are recovered in order until their volumes have published them", async (t) => {
  const directory = join(temporary(t), "made/with/parents");
  const first = await open(t, { directory, ...small });
  assert.deepEqual(first.recovery.frames, []);
  assert.equal(first.journal.starts, 1n);
  const lsns: Lsn[] = [];
  for (const text of ["one", "two", "three"]) {
    lsns.push(await first.journal.append(frame(text), text === "two" ? ["a", "b"] : ["a"]));
  }
  assert.ok(lsns[0]! < lsns[1]! && lsns[1]! < lsns[2]!);
  await first.journal.mark("a", { durable: lsns[1]! });
  await first.journal.mark("a", { published: lsns[1]! });
  await first.journal.close();

  const second = await open(t, { directory, ...small });
  assert.equal(second.journal.id, first.journal.id);
  assert.equal(second.journal.starts, 2n);
  assert.deepEqual(second.recovery.damage, []);
  assert.deepEqual(await texts(second.recovery), ["two", "three"]);
  assert.deepEqual(
    second.recovery.frames.map(({ lsn }) => lsn),
    lsns.slice(1),
  );
  assert.deepEqual(second.recovery.frames[0]?.volumes, ["a", "b"]);
  assert.deepEqual(second.recovery.marks.get("a"), { durable: lsns[1], published: lsns[1] });

  await second.journal.mark("a", { durable: lsns[2]!, published: lsns[2]! });
  await second.journal.mark("b", { durable: lsns[2]!, published: lsns[2]! });
  await second.journal.recovered();
  await second.journal.close();
  const third = await open(t, { directory, ...small });
  assert.deepEqual(third.recovery.frames, []);
});

test("a frame is gathered from its parts, which may be reused afterwards", async (t) => {
  const directory = temporary(t);
  const { journal } = await open(t, { directory, ...small });
  const part = Buffer.from("shared");
  await journal.append([part, Buffer.from("-"), part], ["v"]);
  part.fill(0);
  await journal.append([], ["v"]);
  await journal.close();
  const { recovery } = await open(t, { directory, ...small });
  assert.deepEqual(await texts(recovery), ["shared-shared", ""]);
});

test("two processes, or two journals of one process, never share a directory", async (t) => {
  const directory = temporary(t);
  const { journal } = await open(t, { directory, ...small });
  await rejects(Journal.open({ directory, ...small }), "ERR_JOURNAL_LOCKED");
  await journal.append(frame("still the only one"), ["v"]);
  await journal.close();
  const { recovery } = await open(t, { directory, ...small });
  assert.deepEqual(await texts(recovery), ["still the only one"]);
});

test("after kill -9 the lock is free and every acknowledged frame is there", async (t) => {
  const directory = temporary(t);
  const program = `
    import { Journal } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))};
    const { journal } = await Journal.open({ directory: process.argv[1], segmentBytes: 65536 });
    for (let n = 0; ; n += 1) {
      await journal.append([Buffer.from("frame " + n)], ["v"]);
      process.stdout.write(n + "\\n");
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program, directory], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8");
  for await (const piece of child.stdout) {
    output += piece;
    if (output.split("\n").length > 25) child.kill("SIGKILL");
  }
  const last = Number(output.trimEnd().split("\n").at(-1));
  const { recovery } = await open(t, { directory, segmentBytes: 65536 });
  const found = await texts(recovery);
  const wanted = Array.from({ length: last + 1 }, (_, n) => `frame ${n}`);
  assert.deepEqual(found.slice(0, last + 1), wanted);
});

test("one write is in flight at a time; frames are numbered in call order", async (t) => {
  let inFlight = 0;
  let maxInFlight = 0;
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    writeAt: async (...call) => {
      inFlight += 1;
      maxInFlight = Math.max(maxInFlight, inFlight);
      await nodeFileSystem.writeAt(...call);
      inFlight -= 1;
    },
  };
  const { journal } = await open(t, { directory: temporary(t), fileSystem, ...small });
  const many = Array.from({ length: 20 }, (_, n) => journal.append(frame(`${n}`), ["v"]));
  const lsns = await Promise.all(many);
  assert.deepEqual(
    [...lsns].sort((a, b) => (a < b ? -1 : 1)),
    lsns,
  );
  assert.equal(maxInFlight, 1);
});

test("a mark rides on the next frame, or gets its own write when none comes", async (t) => {
  const { journal } = await open(t, { directory: temporary(t), ...small });
  const lsn = await journal.append(frame("one"), ["v"]);
  const { writes } = journal.stats();
  await Promise.all([journal.mark("v", { durable: lsn }), journal.append(frame("two"), ["v"])]);
  assert.equal(journal.stats().writes, writes + 1);
  await journal.mark("v", { published: lsn });
  assert.equal(journal.stats().writes, writes + 2);
  await journal.mark("v", { durable: lsn });
  assert.equal(journal.stats().writes, writes + 2, "what is on the disk is not written again");
});

test("a mark waits for a frame for withinMs at most", async (t) => {
  const { journal, clock } = await onBadDisk(t);
  const lsn = await journal.append(frame("one"), ["v"]);
  const { writes } = journal.stats();
  let isMarked = false;
  const marked = journal.mark("v", { durable: lsn }, { withinMs: 50 }).then(() => {
    isMarked = true;
  });
  clock.advance(49);
  await reactions();
  assert.equal(isMarked, false);
  assert.equal(journal.stats().writes, writes);
  clock.advance(1);
  await marked;
  assert.equal(journal.stats().writes, writes + 1);
  // A mark that waits is written at once with the next frame.
  const riding = journal.mark("v", { published: lsn }, { withinMs: 50 });
  await Promise.all([riding, journal.append(frame("two"), ["v"])]);
  assert.equal(journal.stats().writes, writes + 2);
});

test("marks of unassigned numbers, or published above durable, are refused", async (t) => {
  const { journal } = await open(t, { directory: temporary(t), ...small });
  const lsn = await journal.append(frame("one"), ["v"]);
  await rejects(journal.mark("v", { durable: lsn + 1n }), "ERR_JOURNAL_OPTION");
  await rejects(journal.mark("v", { published: lsn }), "ERR_JOURNAL_OPTION");
  await rejects(journal.mark("", { durable: lsn }), "ERR_JOURNAL_OPTION");
  await rejects(journal.append(frame("one"), []), "ERR_JOURNAL_OPTION");
  await rejects(journal.append(frame("one"), ["v".repeat(256)]), "ERR_JOURNAL_OPTION");
  for (const wrong of [
    { segmentBytes: 5000 },
    { segmentBytes: 8192 },
    { maxSegments: 2 },
    { maxSegments: 2.5 },
    { retryMs: 0 },
  ]) {
    await rejects(Journal.open({ directory: "/nowhere", ...wrong }), "ERR_JOURNAL_OPTION");
  }
  await rejects(Journal.open({ directory: "" }), "ERR_JOURNAL_OPTION");
});

test("when only the reserved spare is left, new mail is refused, marks are not", async (t) => {
  const { journal } = await open(t, { directory: temporary(t), ...small });
  const before = journal.freeBytes;
  assert.ok(before > 2 * small.segmentBytes && before < 3 * small.segmentBytes, `${before}`);
  await rejects(
    journal.append([Buffer.alloc(small.segmentBytes)], ["v"]),
    "ERR_JOURNAL_FRAME_TOO_LARGE",
  );
  const lsns: Lsn[] = [];
  const error = await (async () => {
    for (;;) lsns.push(await journal.append([Buffer.alloc(20_000)], ["v"]));
  })().catch((reason: unknown) => reason);
  assert.equal((error as JournalError).code, "ERR_JOURNAL_FULL");
  assert.equal(lsns.length, 8, "two, three and three in a segment; the fourth segment is reserved");
  assert.equal(journal.stats().segments, small.maxSegments);
  assert.equal(journal.stats().spareSegments, 1);
  assert.equal(journal.accepting, true);
  const reserved = await journal.append([Buffer.alloc(20_000)], ["v"], { reserved: true });
  await journal.mark("v", { durable: reserved });
  await rejects(journal.append(frame("small"), ["v"]), "ERR_JOURNAL_FULL");
  await journal.mark("v", { published: lsns[4]! });
  await journal.append(frame("there is room again"), ["v"]);
  assert.equal(journal.stats().segments <= small.maxSegments, true);
});

test("segments are reused in place, within maxSegments", async (t) => {
  const directory = temporary(t);
  const { journal } = await open(t, { directory, ...small });
  for (let n = 0; n < 60; n += 1) {
    const lsn = await journal.append([Buffer.alloc(20_000, n)], ["v"]);
    await journal.mark("v", { durable: lsn, published: lsn });
  }
  const names = readdirSync(directory).filter((name) => name.startsWith("segment-"));
  assert.ok(names.length <= small.maxSegments, names.join());
  const last = await journal.append(frame("last"), ["v"]);
  await journal.close();
  const { recovery } = await open(t, { directory, ...small });
  assert.deepEqual(recovery.damage, []);
  assert.deepEqual(
    recovery.frames.map(({ lsn }) => lsn),
    [last],
  );
});

test("a volume that publishes nothing keeps its segments; others are reused", async (t) => {
  const directory = temporary(t);
  const options = { directory, segmentBytes: 64 * 1024, maxSegments: 6 };
  const { journal } = await open(t, options);
  await journal.append(frame("stays"), ["bad"]);
  for (let n = 0; n < 40; n += 1) {
    const lsn = await journal.append([Buffer.alloc(20_000, n)], ["good"]);
    await journal.mark("good", { durable: lsn, published: lsn });
  }
  await journal.close();
  const { recovery } = await open(t, options);
  assert.deepEqual(await texts(recovery), ["stays"]);
});

/** A journal on a simulated disk, with a function that makes its writes fail. */
async function onBadDisk(t: TestContext, own: Partial<JournalOptions> = {}) {
  const disk = new SimDisk(new SeededRandom(7));
  const process = disk.start();
  const clock = new SimClock();
  // Filling a segment takes turns of the real event loop; only timers are simulated.
  const setImmediate = systemClock.setImmediate;
  const stopped = Object.assign(Object.create(clock), {
    now: () => clock.now(),
    wallTimeMs: () => clock.wallTimeMs(),
    setTimeout: (callback: () => void, delayMs: number) => clock.setTimeout(callback, delayMs),
    clearTimeout: (timer: unknown) => clock.clearTimeout(timer),
    setImmediate,
  });
  const options = { directory: "/journal", fileSystem: process, clock: stopped, ...small, ...own };
  const { journal } = await open(t, options);
  let failures = 0;
  disk.faults = [
    {
      errno: "EIO",
      matches: ({ name }) => name === "pwrite" && failures > 0 && failures-- > 0,
    },
  ];
  return {
    disk,
    clock,
    journal,
    fail: (times: number) => {
      failures = times;
    },
    /** What the next process recovers. */
    reopened: async () => {
      process.kill();
      return (await open(t, { ...options, fileSystem: disk.start() })).recovery;
    },
    closed: async () => {
      await journal.close();
      return (await open(t, { ...options, fileSystem: disk.start() })).recovery;
    },
  };
}

test("a failed write abandons the segment, and the frame is retried in a new one", async (t) => {
  const { journal, fail, closed } = await onBadDisk(t);
  await journal.append(frame("before"), ["v"]);
  fail(1);
  const lsn = await journal.append(frame("tried twice"), ["v"]);
  assert.equal(journal.accepting, true);
  assert.equal(journal.stats().abandonedSegments, 1);
  const recovery = await closed();
  assert.deepEqual(await texts(recovery), ["before", "tried twice"], "it counts once");
  assert.equal(recovery.frames[1]?.lsn, lsn);
  assert.deepEqual(recovery.damage, []);
});

test("after a second failure no frame is accepted until the refused one is void", async (t) => {
  const { journal, fail, clock, closed } = await onBadDisk(t);
  const kept = await journal.append(frame("before"), ["v"]);
  fail(3);
  const queued = [journal.append(frame("refused"), ["v"]), journal.append(frame("queued"), ["v"])];
  const marked = journal.mark("v", { durable: kept });
  const [refused] = await Promise.all(
    queued.map((each) => rejects(each, "ERR_JOURNAL_WRITE_FAILED")),
  );
  assert.equal(refused?.errno, "EIO");
  assert.equal(journal.accepting, false);
  assert.equal(journal.freeBytes, 0);
  await rejects(journal.append(frame("too early"), ["v"]), "ERR_JOURNAL_WRITE_FAILED");
  while (clock.pendingTimers === 0) await reactions();
  assert.equal(journal.accepting, false, "the first repair has failed too");
  clock.advance(1000);
  await marked;
  assert.equal(journal.accepting, true);
  await journal.append(frame("after"), ["v"]);
  const recovery = await closed();
  assert.deepEqual(await texts(recovery), ["before", "after"]);
  assert.equal(recovery.marks.get("v")?.durable, kept);
});

test("onAccepting reports the second failed write and the repair, once each", async (t) => {
  const reported: boolean[] = [];
  const { journal, fail, clock } = await onBadDisk(t, {
    onAccepting: (isAccepting) => reported.push(isAccepting),
  });
  await journal.append(frame("before"), ["v"]);
  fail(1);
  await journal.append(frame("tried twice"), ["v"]);
  assert.deepEqual(reported, [], "one failed write changes nothing");
  fail(3);
  await rejects(journal.append(frame("refused"), ["v"]), "ERR_JOURNAL_WRITE_FAILED");
  while (clock.pendingTimers === 0) await reactions();
  assert.deepEqual(reported, [false]);
  clock.advance(1000);
  while (!journal.accepting) await reactions();
  await reactions();
  assert.deepEqual(reported, [false, true]);
  await journal.close();
  assert.deepEqual(reported, [false, true], "close is no change");
});

test("a repair during a failed opening is not reported to onAccepting", async (t) => {
  const { disk, journal } = await onBadDisk(t);
  await journal.append(frame("one"), ["v"]);
  await journal.close();
  let failures = 2;
  disk.faults = [{ errno: "EIO", matches: ({ name }) => name === "pwrite" && failures-- > 0 }];
  const reported: boolean[] = [];
  const opening = Journal.open({
    directory: "/journal",
    fileSystem: disk.start(),
    ...small,
    onAccepting: (isAccepting) => reported.push(isAccepting),
  });
  await rejects(opening, "ERR_JOURNAL_OPEN_FAILED");
  await reactions();
  assert.ok(failures < 0, "the repair was written");
  assert.deepEqual(reported, []);
});

test("a repair during close is not reported to onAccepting", async (t) => {
  const reported: boolean[] = [];
  const { journal, fail } = await onBadDisk(t, {
    onAccepting: (isAccepting) => reported.push(isAccepting),
  });
  await journal.append(frame("before"), ["v"]);
  fail(2);
  await rejects(journal.append(frame("refused"), ["v"]), "ERR_JOURNAL_WRITE_FAILED");
  await journal.close();
  await reactions();
  assert.deepEqual(reported, [false]);
});

test("frames read from the page cache are durable before open returns", async (t) => {
  const { disk, journal, fail, reopened } = await onBadDisk(t);
  await journal.append(frame("before"), ["v"]);
  fail(2);
  void journal.append(frame("in the cache only"), ["v"]).catch(() => undefined);
  await reactions();
  const recovery = await reopened();
  assert.deepEqual(await texts(recovery), ["before", "in the cache only"]);
  disk.dropCaches();
  assert.deepEqual(await texts(recovery), ["before", "in the cache only"]);
});

test("open reports a disk that refuses writes, and changes nothing", async (t) => {
  const { disk, journal } = await onBadDisk(t);
  await journal.append(frame("one"), ["v"]);
  await journal.close();
  for (const [errno, name] of [
    ["ENOSPC", "write"],
    ["EROFS", "open"],
    ["EIO", "fsync"],
    ["EIO", "pwrite"],
    ["EIO", "pread"],
    ["EROFS", "lock"],
  ] as const) {
    disk.faults = [{ errno, matches: (operation) => operation.name === name }];
    const process = disk.start();
    const options = { directory: "/journal", fileSystem: process, ...small };
    const error = await rejects(Journal.open(options), "ERR_JOURNAL_OPEN_FAILED");
    assert.match(error.message, new RegExp(errno));
    assert.deepEqual(process.openFiles, []);
    disk.faults = [];
    process.kill();
  }
  const { recovery } = await open(t, { directory: "/journal", fileSystem: disk.start(), ...small });
  assert.deepEqual(await texts(recovery), ["one"]);
});

test("a full disk refuses new mail until there is room", async (t) => {
  const { disk, journal, clock } = await onBadDisk(t);
  disk.faults = [{ errno: "ENOSPC", matches: ({ name }) => name === "write" }];
  const error = await (async () => {
    for (;;) await journal.append([Buffer.alloc(20_000)], ["v"]);
  })().catch((reason: unknown) => reason);
  assert.equal((error as JournalError).code, "ERR_JOURNAL_FULL");
  assert.equal((error as JournalError).errno, "ENOSPC");
  assert.equal(journal.accepting, true);
  disk.faults = [];
  clock.advance(1000);
  await reactions();
  await journal.append([Buffer.alloc(20_000)], ["v"]);
});

test("inspect changes nothing and needs no lock", async (t) => {
  const directory = temporary(t);
  const { journal } = await open(t, { directory, ...small });
  const lsn = await journal.append(frame("one"), ["v"]);
  await journal.append(frame("two"), ["v"]);
  await journal.mark("v", { durable: lsn, published: lsn });
  // Spares are made in the background.
  while (journal.stats().spareSegments < 2) await reactions();
  const listing = () =>
    readdirSync(directory).map((name) => [name, statSync(join(directory, name)).mtimeMs]);
  const before = listing();
  const { id, recovery, segments } = await Journal.inspect({ directory });
  assert.deepEqual(listing(), before);
  assert.equal(id, journal.id);
  assert.deepEqual(await texts(recovery), ["two"]);
  assert.equal(segments.find(({ state }) => state === "live")?.frames, 1);
  const nothing = join(directory, "nothing");
  await rejects(Journal.inspect({ directory: nothing }), "ERR_JOURNAL_OPEN_FAILED");
  assert.equal(existsSync(nothing), false);
});

test("a segment of a later version is refused and not changed", async (t) => {
  const directory = temporary(t);
  const { journal } = await open(t, { directory, ...small });
  await journal.append(frame("one"), ["v"]);
  await journal.close();
  const path = join(directory, "segment-00000001");
  const bytes = readFileSync(path);
  bytes.writeUInt16BE(2, 12);
  bytes.writeUInt32BE(crc32(bytes.subarray(12, 80)), 8);
  writeFileSync(path, bytes);
  await rejects(Journal.open({ directory, ...small }), "ERR_JOURNAL_VERSION");
  await rejects(Journal.inspect({ directory }), "ERR_JOURNAL_VERSION");
  assert.deepEqual(readFileSync(path), bytes);
});

test("damage is reported at every start; its segments stay, valid frames are recovered", async (t) => {
  const directory = temporary(t);
  const first = await open(t, { directory, ...small });
  for (const text of ["one", "two", "three"]) await first.journal.append(frame(text), ["v"]);
  await first.journal.close();
  const path = join(directory, "segment-00000001");
  const bytes = readFileSync(path);
  bytes[bytes.indexOf("two")] = 0;
  writeFileSync(path, bytes);
  for (let start = 2; start < 5; start += 1) {
    const { journal, recovery } = await open(t, { directory, ...small });
    assert.deepEqual(recovery.damage, [
      "segment-00000001 lacks records 2 to 2, with valid ones behind them",
    ]);
    if (start === 2) assert.deepEqual(await texts(recovery), ["one", "three"]);
    await rejects(journal.recovered(), "ERR_JOURNAL_DAMAGED");
    const lsn = await journal.append(frame("mail is served all the same"), ["v"]);
    await journal.mark("v", { durable: lsn, published: lsn });
    await journal.close();
    assert.deepEqual(readFileSync(path), bytes);
  }
});

test("a missing segment, or one cut short before acknowledged frames, is damage", async (t) => {
  for (const harm of ["gone", "shorter"] as const) {
    const directory = temporary(t);
    const { journal } = await open(t, { directory, ...small });
    for (let n = 0; n < 5; n += 1) await journal.append([Buffer.alloc(20_000)], ["v"]);
    await journal.close();
    const path = join(directory, "segment-00000001");
    if (harm === "gone") rmSync(path);
    else writeFileSync(path, readFileSync(path).subarray(0, 40_000));
    const { recovery } = await open(t, { directory, ...small });
    assert.match(recovery.damage.join(), harm === "gone" ? /is missing/ : /at its end/);
    assert.equal(recovery.frames.length, harm === "gone" ? 3 : 4);
  }
});

test("close writes queued frames and marks, once", async (t) => {
  const directory = temporary(t);
  const { journal } = await open(t, { directory, ...small });
  const appended = journal.append(frame("one"), ["v"]);
  const closed = journal.close();
  assert.equal(journal.close(), closed);
  const lsn = await appended;
  await closed;
  await rejects(journal.append(frame("two"), ["v"]), "ERR_JOURNAL_CLOSED");
  await rejects(journal.mark("v", { durable: lsn }), "ERR_JOURNAL_CLOSED");
  assert.equal(journal.accepting, false);
  const { recovery } = await open(t, { directory, ...small });
  assert.deepEqual(await texts(recovery), ["one"]);
});

test("each commit is one synchronous write", async (t) => {
  try {
    execFileSync("strace", ["-V"], { stdio: "ignore" });
  } catch {
    return t.skip("needs strace");
  }
  const directory = temporary(t);
  const program = `
    import { Journal } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))};
    const { journal } = await Journal.open({ directory: process.argv[1], segmentBytes: 1048576 });
    while (journal.stats().spareSegments < 2) await new Promise(setImmediate);
    process.kill(process.pid, "SIGCONT");
    for (let n = 0; n < 5; n += 1) {
      await journal.append(Array.from({ length: 64 }, () => Buffer.alloc(1000)), ["v"]);
    }
    process.kill(process.pid, "SIGCONT");
    await journal.close();`;
  const log = join(directory, "trace");
  const calls = "trace=pwrite64,pwritev,write,writev,fsync,fdatasync,sync_file_range,openat,kill";
  const child = spawn(
    "strace",
    [
      "-f",
      "-o",
      log,
      "-e",
      calls,
      process.execPath,
      "--input-type=module",
      "-e",
      program,
      directory,
    ],
    { stdio: "inherit" },
  );
  const [code] = await once(child, "close");
  assert.equal(code, 0);
  const lines = readFileSync(log, "utf8").split("\n");
  const marks = lines.flatMap((line, index) => (/ kill\(.*SIGCONT/.test(line) ? [index] : []));
  const commits = lines
    .slice(marks[0]! + 1, marks[1])
    .filter((line) => /pwrite|fsync|fdatasync|writev/.test(line) && !/resumed/.test(line));
  assert.equal(commits.length, 5, commits.join("\n"));
  assert.ok(commits.every((line) => line.includes("pwrite64(")));
  const opened = lines.filter((line) => /openat.*segment-\d+"/.test(line) && /O_WRONLY/.test(line));
  assert.ok(opened.length > 0 && opened.every((line) => line.includes("O_DSYNC")));
});
