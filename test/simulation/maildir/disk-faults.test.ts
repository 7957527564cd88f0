/**
 * Lets every single call to the disk fail in turn, with each errno a sick disk gives: the messages it
 * concerns are refused with that error, everybody else's are stored, and the next batch succeeds.
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

interface Office {
  readonly disk: SimDisk;
  readonly process: SimProcess;
  readonly tools: DeliverTools;
}

function open(flushing: "each" | "bulk"): Office {
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
function letters(): Delivery[] {
  return boxes.flatMap((maildir) => [
    { maildir, body: Buffer.from(`new mail for ${maildir}`) },
    { maildir, body: Buffer.from(`old mail for ${maildir}`), flags: "S", receivedAt: new Date(0) },
  ]);
}

/** What of a mailbox a reader sees. */
function seen({ process }: Office, maildir: string): string[] {
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

function check(
  office: Office,
  deliveries: readonly Delivery[],
  results: readonly DeliveryResult[],
) {
  for (const [index, result] of results.entries()) {
    const visible = seen(office, deliveries[index]!.maildir);
    if (result.ok) assert.ok(visible.includes(result.id), `${result.id} is answered but not there`);
  }
  const stored = results.filter(({ ok }) => ok).length;
  const withdrawn = results.filter((result) => !result.ok && result.error.mayRemain).length;
  const visible = boxes.flatMap((box) => seen(office, box)).length;
  assert.ok(visible <= stored + withdrawn, `${visible} visible, ${stored} answered`);
  counted.stored += stored;
  counted.refused += results.length - stored;
}

/** Which mailboxes a failing call may concern: its own, or all where the path is shared. */
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
          const office = open(flushing);
          const { disk, process, tools } = office;
          if (warm) await deliverAll(letters(), tools);
          const start = disk.operations;
          const hit: Operation[] = [];
          const matches = (operation: Operation) => {
            const isIt = operation.number === start + number;
            if (isIt) hit.push(operation);
            return isIt;
          };
          disk.faults = [{ errno, matches }];
          const deliveries = letters();
          const before = boxes.flatMap((box) => seen(office, box)).length;
          const results = await deliverAll(deliveries, tools);
          const [operation] = hit;
          disk.faults = [];
          if (!operation) break;
          reached = true;
          counted.faults += 1;
          const context = `${errno} in ${operation.name} ${operation.path}`;
          if (!warm) check(office, deliveries, results);
          assert.ok(before <= boxes.flatMap((box) => seen(office, box)).length, context);
          for (const [index, result] of results.entries()) {
            if (result.ok) continue;
            assert.equal(result.error.errno, errno, context);
            assert.ok(concerned(operation).includes(deliveries[index]!.maildir), context);
          }
          if (operation.path.includes("/tmp/")) {
            assert.ok(results.filter(({ ok }) => !ok).length <= 1, `${context}: its neighbours`);
          }
          // Whoever loses one flush of a message's data gets a second file for it.
          const published = disk.trace.slice(start, operation.number).some(isRename);
          if (["fdatasync", "syncfs"].includes(operation.name) && !published) {
            assert.ok(
              results.every(({ ok }) => ok),
              context,
            );
          }
          assert.deepEqual(process.openFiles, [], `${context}: descriptors left open`);
          const again = await deliverAll(letters(), tools);
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
        const office = open(flushing);
        const { disk, process, tools } = office;
        disk.faults = [{ errno, matches: (operation) => operation.number >= number + 2 }];
        const deliveries = letters();
        const results = await deliverAll(deliveries, tools);
        disk.faults = [];
        counted.faults += 1;
        check(office, deliveries, results);
        for (const result of results) if (!result.ok) assert.equal(result.error.errno, errno);
        assert.deepEqual(process.openFiles, []);
        const again = await deliverAll(letters(), tools);
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
  const results = await deliverAll(letters(), tools);
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
  const results = await deliverAll(letters().slice(0, 1), {
    ...tools,
    names: { ...tools.names, next },
  });
  assert.deepEqual(
    results.map((result) => result.ok && result.id),
    names,
  );
});

test("a failed flush of new/ refuses and removes all messages of that mailbox", async () => {
  const office = open("each");
  const { disk, tools } = office;
  disk.faults = [
    { errno: "EIO", matches: ({ name, path }) => name === "fsync" && path === "/mail/bob/new" },
  ];
  const results = await deliverAll(letters(), tools);
  assert.deepEqual(
    results.map(({ ok }) => ok),
    [true, true, false, false, true, true],
  );
  for (const result of results) {
    if (result.ok) continue;
    assert.equal(result.error.code, "ERR_MAILDIR_SYNC_FAILED");
    assert.equal(result.error.mayRemain, false);
  }
  assert.deepEqual(seen(office, "/mail/bob"), []);
});

test("a refused message that a reader has moved is reported as mayRemain", async () => {
  const office = open("each");
  const { disk, process, tools } = office;
  disk.faults = [
    { errno: "EIO", matches: ({ name, path }) => name === "fsync" && path.endsWith("/new") },
  ];
  let moved = false;
  disk.onTurn = () => {
    const [name] = moved ? [] : seen(office, "/mail/ann");
    if (!name) return;
    process.rename(`/mail/ann/new/${name}`, `/mail/ann/cur/${name}:2,S`);
    moved = true;
  };
  const [result] = await deliverAll([{ maildir: "/mail/ann", body: Buffer.from("x") }], tools);
  assert.ok(result && !result.ok);
  assert.ok(moved);
  assert.equal(result.error.mayRemain, true);
  assert.deepEqual(seen(office, "/mail/ann").length, 1);
});

test("an error of new/ that another flush received first is also reported here", async () => {
  const { disk, tools } = open("each");
  await deliverAll([{ maildir: "/mail/ann", body: Buffer.from("first") }], tools);
  const fresh = disk.root.names.get("mail")!.names.get("ann")!.names.get("new")!;
  let renamed = false;
  let lost = 0;
  // Right behind the rename somebody else's flush of new/ fails, and is told so in our place.
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
  assert.ok(result && !result.ok, "the name is lost, and this delivery must not be acknowledged");
});
