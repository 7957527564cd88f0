/**
 * A program that delivers numbered mail through a journal and kills itself at a named point.
 *
 *   node test/slow/crash/support/crash-program.ts '{"directory": …, "point": "after append", "occurrence": 3}'
 *
 * It recovers first. What must be remembered outside is a line on standard output, written before
 * anything else happens: `acknowledged N`, `deleted N` for what its reader deleted, and `killed`.
 * Without a kill it ends in good order.
 */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { JournalCommitter } from "../../../../src/delivery/commit/journal-committer.ts";
import {
  createKnownMailboxes,
  createNameSource,
  type Delivery,
} from "../../../../src/maildir/index.ts";
import { type FileSystem, openFileSystemSync, systemClock } from "../../../../src/system/index.ts";
import { blocked, gone, mailNumber, numberOf } from "./messages.ts";
import { Witness } from "./named-points.ts";
import {
  type Moment,
  type Operation,
  watchedFileSystem,
  watchedSync,
} from "./watched-file-system.ts";

export interface OfficeOrders {
  /** Holds `mail/`, `journal/` and `spool/`. */
  readonly directory: string;
  /** A moment and a deed, such as `after append`; none lets it live. */
  readonly point: string | undefined;
  /** The how-many-eth time the point is reached. */
  readonly occurrence: number;
  readonly firstNumber: number;
  readonly batches: number;
  /** As the executor's option; a long time leaves much to publish. */
  readonly publishWithinMs: number;
  /** Whether one mailbox refuses every new name, so that its mail goes into the log again. */
  readonly isBlocked: boolean;
  /** Whether a helper that flushes whole file systems is to be had. */
  readonly hasBulkSync: boolean;
}

const orders = JSON.parse(process.argv[2] ?? "") as OfficeOrders;
const mailRoot = join(orders.directory, "mail");
const spool = join(orders.directory, "spool");
const witness = new Witness(mailRoot);
const deeds = new Map<Operation, readonly string[]>();
let left = orders.occurrence;

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

function onlooker(operation: Operation, moment: Moment): void {
  // Asked once for each operation, before it is done.
  const ofOperation = deeds.get(operation) ?? witness.deedsOf(operation);
  deeds.set(operation, ofOperation);
  if (moment === "after") deeds.delete(operation);
  for (const deed of ofOperation) killAt(`${moment} ${deed}`);
  if (moment === "after") followUp(operation, ofOperation);
}

function killAt(point: string): void {
  if (point !== orders.point) return;
  left -= 1;
  if (left > 0) return;
  say("killed");
  process.kill(process.pid, "SIGKILL");
}

/** What others do meanwhile: a reader reads, and one mailbox is deleted over and over again. */
function followUp({ to = "" }: Operation, ofOperation: readonly string[]): void {
  if (ofOperation.includes("publish")) read(to);
  if (ofOperation.includes("append")) {
    const account = join(mailRoot, gone);
    for (const folder of ["new", "cur"]) deletedIn(join(account, folder));
    rmSync(account, { recursive: true, force: true });
  }
}

function read(path: string): void {
  const number = numberOf(readFileSync(path));
  if (number === undefined) throw new Error(`${path} is visible and not whole`);
  if (number % 7 === 0) {
    unlinkSync(path);
    say(`deleted ${number}`);
  } else if (number % 3 === 0 && path.includes("/new/")) {
    renameSync(path, join(dirname(dirname(path)), "cur", `${basename(path)}:2,S`));
  }
}

function deletedIn(folder: string): void {
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    return; // Nobody has made it yet.
  }
  for (const name of names) say(`deleted ${numberOf(readFileSync(join(folder, name)))}`);
}

function withBlockedMailbox(fileSystem: FileSystem): FileSystem {
  return {
    ...fileSystem,
    renameInto: (from, directory, name) => {
      if (orders.isBlocked && fileSystem.pathOf(directory).includes(`/${blocked}/`)) {
        throw Object.assign(new Error("EACCES: blocked"), { code: "EACCES", syscall: "rename" });
      }
      fileSystem.renameInto(from, directory, name);
    },
  };
}

function deliveryOf(number: number): Delivery {
  const { mailbox, bytes, isLarge, flags } = mailNumber(number);
  const common = { maildir: join(mailRoot, mailbox), ...(flags === undefined ? {} : { flags }) };
  if (!isLarge) return { ...common, body: bytes };
  const file = join(spool, String(number));
  writeFileSync(file, bytes.subarray(100));
  return { ...common, body: { head: bytes.subarray(0, 100), file, size: bytes.length } };
}

async function session(office: JournalCommitter, numbers: readonly (readonly number[])[]) {
  for (const batch of numbers) {
    const results = await office.commit(batch.map(deliveryOf));
    for (const [position, { ok }] of results.entries()) {
      if (ok) say(`acknowledged ${batch[position]}`);
    }
    killAt("after answer");
  }
}

/** The numbers of each batch: the first is large enough to be flushed together. */
function plan(): number[][] {
  let next = orders.firstNumber;
  return Array.from({ length: orders.batches }, (_, batch) =>
    Array.from({ length: batch === 0 ? 14 : 1 + ((batch * 5) % 8) }, () => next++),
  );
}

mkdirSync(spool, { recursive: true });
mkdirSync(mailRoot, { recursive: true });
const office = await JournalCommitter.open(
  {
    directory: join(orders.directory, "journal"),
    publishWithinMs: orders.publishWithinMs,
    maxBacklogBytes: 2 ** 30,
    maxBacklogWaitMs: 60_000,
    segmentBytes: 64 * 1024,
    maxSegments: orders.isBlocked || orders.publishWithinMs > 1000 ? 64 : 5,
  },
  {
    fileSystem: withBlockedMailbox(watchedFileSystem(onlooker)),
    clock: systemClock,
    names: createNameSource({ clock: systemClock }),
    known: createKnownMailboxes(),
    root: mailRoot,
    openFileSystemSync: async (directory) => {
      if (!orders.hasBulkSync) return undefined;
      const sync = await openFileSystemSync(directory);
      return sync && watchedSync(sync, directory, onlooker);
    },
    onEvent: () => {},
  },
);
const batches = plan();
await session(office, batches.slice(0, 1));
await Promise.all(
  [0, 1].map((half) =>
    session(
      office,
      batches.slice(1).filter((_, at) => at % 2 === half),
    ),
  ),
);
await office.close();
