/**
 * A program that delivers numbered mail through a journal and kills itself at a named point.
 *
 *   node crash-program.ts '{"directory": …, "point": "after append", "occurrence": 3}'
 *
 * It recovers first. Facts for the parent process are lines on standard output, printed before the
 * program goes on: `acknowledged N`, `deleted N` for a message its reader deleted, and `killed`.
 * Without a kill it closes the committer and ends.
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
import { ActionNames } from "./named-points.ts";
import {
  type Moment,
  type Operation,
  watchedFileSystem,
  watchedSync,
} from "./watched-file-system.ts";

export interface CrashProgramOptions {
  /** Holds `mail/`, `journal/` and `spool/`. */
  readonly directory: string;
  /** A moment and an action, such as `after append`; `undefined` for no kill. */
  readonly point: string | undefined;
  /** At which arrival at the point it is killed, from 1. */
  readonly occurrence: number;
  readonly firstNumber: number;
  readonly batches: number;
  /** As the executor's option; a long time leaves much to publish. */
  readonly publishWithinMs: number;
  /** Whether one mailbox refuses every new name, so that its mail is logged again. */
  readonly isBlocked: boolean;
  /** Whether whole file systems can be flushed. */
  readonly hasBulkSync: boolean;
}

const options = JSON.parse(process.argv[2] ?? "") as CrashProgramOptions;
const mailRoot = join(options.directory, "mail");
const spool = join(options.directory, "spool");
const actionNames = new ActionNames(mailRoot);
const actions = new Map<Operation, readonly string[]>();
let arrivalsLeft = options.occurrence;

function print(line: string): void {
  writeSync(1, `${line}\n`);
}

function observer(operation: Operation, moment: Moment): void {
  // The actions are determined once for each operation, before it is done.
  const ofOperation = actions.get(operation) ?? actionNames.actionsOf(operation);
  actions.set(operation, ofOperation);
  if (moment === "after") actions.delete(operation);
  for (const action of ofOperation) killAt(`${moment} ${action}`);
  if (moment === "after") actAsOthers(operation, ofOperation);
}

function killAt(point: string): void {
  if (point !== options.point) return;
  arrivalsLeft -= 1;
  if (arrivalsLeft > 0) return;
  print("killed");
  process.kill(process.pid, "SIGKILL");
}

/** Other programs: a reader, and an operator who deletes one mailbox over and over again. */
function actAsOthers({ to = "" }: Operation, ofOperation: readonly string[]): void {
  if (ofOperation.includes("publish")) readAsReader(to);
  if (ofOperation.includes("append")) {
    const account = join(mailRoot, gone);
    for (const folder of ["new", "cur"]) printDeleted(join(account, folder));
    rmSync(account, { recursive: true, force: true });
  }
}

function readAsReader(path: string): void {
  const number = numberOf(readFileSync(path));
  if (number === undefined) throw new Error(`${path} is visible and not whole`);
  if (number % 7 === 0) {
    unlinkSync(path);
    print(`deleted ${number}`);
  } else if (number % 3 === 0 && path.includes("/new/")) {
    renameSync(path, join(dirname(dirname(path)), "cur", `${basename(path)}:2,S`));
  }
}

function printDeleted(folder: string): void {
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    return; // The mailbox does not exist yet.
  }
  for (const name of names) print(`deleted ${numberOf(readFileSync(join(folder, name)))}`);
}

function withBlockedMailbox(fileSystem: FileSystem): FileSystem {
  return {
    ...fileSystem,
    renameInto: (from, directory, name) => {
      if (options.isBlocked && fileSystem.pathOf(directory).includes(`/${blocked}/`)) {
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

async function session(committer: JournalCommitter, numbers: readonly (readonly number[])[]) {
  for (const batch of numbers) {
    const results = await committer.commit(batch.map(deliveryOf));
    for (const [position, { ok }] of results.entries()) {
      if (ok) print(`acknowledged ${batch[position]}`);
    }
    killAt("after answer");
  }
}

/** The numbers of each batch; the first batch is large enough for a bulk flush. */
function plan(): number[][] {
  let next = options.firstNumber;
  return Array.from({ length: options.batches }, (_, batch) =>
    Array.from({ length: batch === 0 ? 14 : 1 + ((batch * 5) % 8) }, () => next++),
  );
}

mkdirSync(spool, { recursive: true });
mkdirSync(mailRoot, { recursive: true });
const committer = await JournalCommitter.open(
  {
    directory: join(options.directory, "journal"),
    publishWithinMs: options.publishWithinMs,
    maxBacklogBytes: 2 ** 30,
    maxBacklogWaitMs: 60_000,
    segmentBytes: 64 * 1024,
    maxSegments: options.isBlocked || options.publishWithinMs > 1000 ? 64 : 5,
  },
  {
    fileSystem: withBlockedMailbox(watchedFileSystem(observer)),
    clock: systemClock,
    names: createNameSource({ clock: systemClock }),
    known: createKnownMailboxes(),
    root: mailRoot,
    openFileSystemSync: async (directory) => {
      if (!options.hasBulkSync) return undefined;
      const sync = await openFileSystemSync(directory);
      return sync && watchedSync(sync, directory, observer);
    },
    onEvent: () => {},
  },
);
const batches = plan();
await session(committer, batches.slice(0, 1));
await Promise.all(
  [0, 1].map((half) =>
    session(
      committer,
      batches.slice(1).filter((_, at) => at % 2 === half),
    ),
  ),
);
await committer.close();
