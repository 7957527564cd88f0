/**
 * Makes every single call to the disk fail in turn, with each errno of a failing disk: the messages
 * that the call concerns are refused with that errno, all others are stored, and the next batch
 * succeeds.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  type Delivery,
  type DeliveryResult,
  deliverAll,
} from "../../../src/maildir/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { SimClock } from "../../support/sim-clock.ts";
import { type Operation, SimDisk } from "../../support/sim-disk/disk.ts";
import type { SimProcess } from "../../support/sim-disk/process.ts";

const errnos = ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE"];
const boxes = ["/mail/ann", "/mail/bob", "/mail/cid"];
const counted = { faults: 0, refused: 0, stored: 0 };

after(() => {
  console.log(
    `injected: ${counted.faults} faults; ${counted.refused} messages refused, ${counted.stored} stored`,
  );
});

interface Setup {
  readonly disk: SimDisk;
  readonly process: SimProcess;
  readonly tools: DeliverTools;
}

function open(flushing: "each" | "bulk"): Setup {
  const disk = new SimDisk(new SeededRandom(7));
  const process = disk.start();
  process.makeDirectory("/mail", 0o700);
  disk.root.mount.commit(disk.root.changes);
  const clock = new SimClock();
  const tools = {
    fileSystem: process,
    clock,
    names: createNameSource({ clock, host: "post", random: new Uint8Array(8) }),
    known: createKnownMailboxes(),
    root: "/mail",
    ...(flushing === "bulk" ? { syncFileSystem: disk.openSync(process) } : {}),
  };
  return { disk, process, tools };
}

/** Two messages for each mailbox, one of them with flags. */
function deliveriesToAll(): Delivery[] {
  return boxes.flatMap((maildir) => [
    { maildir, body: Buffer.from(`new mail for ${maildir}`) },
    { maildir, body: Buffer.from(`old mail for ${maildir}`), flags: "S", receivedAt: new Date(0) },
  ]);
}

/** Ids of the messages that a reader sees in a mailbox. */
function visibleIn({ process }: Setup, maildir: string): string[] {
  return ["new", "cur"].flatMap((name) => {
    try {
      return process.list(`${maildir}/${name}`).map((file) => file.split(":")[0]!);
    } catch {
      return [];
    }
  });
}

function isRename(line: string): boolean {
  return line.includes(" rename ");
}

function check(setup: Setup, deliveries: readonly Delivery[], results: readonly DeliveryResult[]) {
  for (const [index, result] of results.entries()) {
    const visible = visibleIn(setup, deliveries[index]!.maildir);
    if (result.ok)
      assert.ok(visible.includes(result.id), `${result.id} was acknowledged but is not visible`);
  }
  const stored = results.filter(({ ok }) => ok).length;
  const withdrawn = results.filter((result) => !result.ok && result.error.mayRemain).length;
  const visible = boxes.flatMap((box) => visibleIn(setup, box)).length;
  assert.ok(visible <= stored + withdrawn, `${visible} visible, ${stored} acknowledged`);
  counted.stored += stored;
  counted.refused += results.length - stored;
}

/** The mailboxes that a failing call may concern: its own, or all if the path is shared. */
function concerned({ name, path }: Operation): readonly string[] {
  if (name === "syncfs") return boxes;
  const own = boxes.filter((box) => path.startsWith(box));
  return own.length > 0 ? own : boxes;
}

for (const flushing of ["each", "bulk"] as const) {
  test(`${flushing}: a failed call affects only its own mailbox, and no later batch`, async () => {
    for (const warm of [false, true]) {
      for (let number = 1; ; number += 1) {
        let reached = false;
        for (const errno of errnos) {
          const setup = open(flushing);
          const { disk, process, tools } = setup;
          if (warm) await deliverAll(deliveriesToAll(), tools);
          const start = disk.operations;
          const hit: Operation[] = [];
          const matches = (operation: Operation) => {
            const isIt = operation.number === start + number;
            if (isIt) hit.push(operation);
            return isIt;
          };
          disk.faults = [{ errno, matches }];
          const deliveries = deliveriesToAll();
          const before = boxes.flatMap((box) => visibleIn(setup, box)).length;
          const results = await deliverAll(deliveries, tools);
          const [operation] = hit;
          disk.faults = [];
          if (!operation) break;
          reached = true;
          counted.faults += 1;
          const context = `${errno} in ${operation.name} ${operation.path}`;
          if (!warm) check(setup, deliveries, results);
          assert.ok(before <= boxes.flatMap((box) => visibleIn(setup, box)).length, context);
          for (const [index, result] of results.entries()) {
            if (result.ok) continue;
            assert.equal(result.error.errno, errno, context);
            assert.ok(concerned(operation).includes(deliveries[index]!.maildir), context);
          }
          if (operation.path.includes("/tmp/")) {
            assert.ok(
              results.filter(({ ok }) => !ok).length <= 1,
              `${context}: at most one message`,
            );
          }
          // A message whose first flush of data fails is stored in a second file.
          const published = disk.trace.slice(start, operation.number).some(isRename);
          if (["fdatasync", "syncfs"].includes(operation.name) && !published) {
            assert.ok(
              results.every(({ ok }) => ok),
              context,
            );
          }
          assert.deepEqual(process.openFiles, [], `${context}: descriptors left open`);
          const again = await deliverAll(deliveriesToAll(), tools);
          assert.ok(
            again.every(({ ok }) => ok),
            `${context}: the next batch is stored`,
          );
        }
        if (!reached) break;
      }
    }
  });

  test(`${flushing}: a lasting fault refuses all; after it every message is stored`, async () => {
    for (const errno of errnos) {
      for (let number = 1; number < 150; number += 3) {
        const setup = open(flushing);
        const { disk, process, tools } = setup;
        disk.faults = [{ errno, matches: (operation) => operation.number >= number + 2 }];
        const deliveries = deliveriesToAll();
        const results = await deliverAll(deliveries, tools);
        disk.faults = [];
        counted.faults += 1;
        check(setup, deliveries, results);
        for (const result of results) if (!result.ok) assert.equal(result.error.errno, errno);
        assert.deepEqual(process.openFiles, []);
        const again = await deliverAll(deliveriesToAll(), tools);
        assert.ok(
          again.every(({ ok }) => ok),
          `${errno} from ${number}: service resumes`,
        );
      }
    }
  });
}

test("a message with two failed flushes is refused; its neighbours are stored", async () => {
  const { disk, tools } = open("each");
  let failures = 0;
  disk.faults = [
    {
      errno: "EIO",
      matches: ({ name, path }) => {
        const isIt = name === "fdatasync" && path.startsWith("/mail/bob");
        if (isIt) failures += 1;
        return isIt;
      },
    },
  ];
  const results = await deliverAll(deliveriesToAll(), tools);
  assert.equal(failures, 2, "one flush of the first file, one of the second, none repeated");
  const [, , refused, neighbour] = results;
  assert.ok(refused && !refused.ok);
  assert.equal(refused.error.code, "ERR_MAILDIR_SYNC_FAILED");
  assert.equal(refused.error.errno, "EIO");
  assert.ok(neighbour?.ok, "the other message for the same mailbox");
  assert.equal(results.filter(({ ok }) => ok).length, 5);
});

test("a message rewritten after a failed flush has its first name", async () => {
  const { disk, tools } = open("each");
  const names: string[] = [];
  disk.faults = [
    {
      errno: "EIO",
      matches: ({ name, path }) => name === "fdatasync" && !path.endsWith(".again"),
    },
  ];
  const next = (size: number) => {
    names.push(tools.names.next(size));
    return names.at(-1)!;
  };
  const results = await deliverAll(deliveriesToAll().slice(0, 1), {
    ...tools,
    names: { ...tools.names, next },
  });
  assert.deepEqual(
    results.map((result) => result.ok && result.id),
    names,
  );
});

test("a failed flush of new/ refuses and removes all messages of that mailbox", async () => {
  const setup = open("each");
  const { disk, tools } = setup;
  disk.faults = [
    { errno: "EIO", matches: ({ name, path }) => name === "fsync" && path === "/mail/bob/new" },
  ];
  const results = await deliverAll(deliveriesToAll(), tools);
  assert.deepEqual(
    results.map(({ ok }) => ok),
    [true, true, false, false, true, true],
  );
  for (const result of results) {
    if (result.ok) continue;
    assert.equal(result.error.code, "ERR_MAILDIR_SYNC_FAILED");
    assert.equal(result.error.mayRemain, false);
  }
  assert.deepEqual(visibleIn(setup, "/mail/bob"), []);
});

test("a refused message that a reader has moved is reported as mayRemain", async () => {
  const setup = open("each");
  const { disk, process, tools } = setup;
  disk.faults = [
    { errno: "EIO", matches: ({ name, path }) => name === "fsync" && path.endsWith("/new") },
  ];
  let moved = false;
  disk.onTurn = () => {
    const [name] = moved ? [] : visibleIn(setup, "/mail/ann");
    if (!name) return;
    process.rename(`/mail/ann/new/${name}`, `/mail/ann/cur/${name}:2,S`);
    moved = true;
  };
  const [result] = await deliverAll([{ maildir: "/mail/ann", body: Buffer.from("x") }], tools);
  assert.ok(result && !result.ok);
  assert.ok(moved);
  assert.equal(result.error.mayRemain, true);
  assert.deepEqual(visibleIn(setup, "/mail/ann").length, 1);
});

test("an error of new/ that another flush received first is also reported here", async () => {
  const { disk, tools } = open("each");
  await deliverAll([{ maildir: "/mail/ann", body: Buffer.from("first") }], tools);
  const fresh = disk.root.names.get("mail")!.names.get("ann")!.names.get("new")!;
  let renamed = false;
  let lost = 0;
  // Right after the rename a flush of new/ by another process fails, and receives the error first.
  const matches = ({ name }: Operation) => {
    if (renamed && lost === 0) {
      disk.failInode(fresh, "EIO");
      lost += 1;
    }
    renamed ||= name === "rename";
    return false;
  };
  disk.faults = [{ errno: "EIO", matches }];
  const [result] = await deliverAll([{ maildir: "/mail/ann", body: Buffer.from("second") }], tools);
  assert.equal(lost, 1);
  assert.ok(result && !result.ok, "the name is lost, so this delivery must not be acknowledged");
});
