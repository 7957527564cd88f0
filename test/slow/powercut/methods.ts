/**
 * The methods of delivery that load.ts can use, by name: the engine's own, and some that lose mail.
 */
import { basename, join } from "node:path";
import { loadSettings } from "../../../src/app/index.ts";
import { openLog } from "../../../src/app/observe/log.ts";
import { startServer } from "../../../src/app/server/serve.ts";
import {
  DeliveryExecutor,
  type DeliveryTuning,
  referenceTuning,
} from "../../../src/delivery/index.ts";
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  deliverAll,
} from "../../../src/maildir/index.ts";
import {
  type FileSystem,
  nodeFileSystem,
  openFileSystemSync,
  systemClock,
} from "../../../src/system/index.ts";
import { sendMessage } from "../../process/support/client.ts";
import { mailDirectory } from "./check.ts";
import { deliverWithDirectorySyncsOnly } from "./directory-syncs-only.ts";
import { journalCommit, maxSegments, type Places, segmentBytes } from "./journal-places.ts";
import { type JournalFault, openFaultyJournal } from "./losing-journal.ts";

export interface OpenMethod extends AsyncDisposable {
  /** Delivers into a mailbox; resolves with the file names in `new/`, if the method knows them. */
  readonly deliver: (mailbox: string, bodies: readonly Buffer[]) => Promise<(string | undefined)[]>;
  /** Resolves when a message is visible and has no other name, in `tmp/` or in staging. */
  readonly settled: (id: string) => Promise<void>;
}

interface MethodDefinition {
  readonly open: (places: Places) => Promise<OpenMethod>;
  /** Where the journal is, if there is one: then mail is complete only after recovery. */
  readonly journal?: "same disk" | "another disk";
}

/** Shorter than the default of 250, so that more cuts fall into a publishing round. */
const publishWithinMs = 20;

const journalFlags = {
  commit: "journal",
  journalSegmentBytes: `${segmentBytes}`,
  journalSegments: `${maxSegments}`,
  publishWithinMs: `${publishWithinMs}`,
};

const methods = {
  server: { open: (places) => server(places, { commit: "synced" }) },
  "server, journal": { open: (places) => server(places, journalFlags), journal: "same disk" },
  executor: { open: (places) => executor(places, {}) },
  "executor, reference tuning": { open: (places) => executor(places, referenceTuning) },
  "maildir, each file flushed": { open: (places) => maildir(places, {}) },
  "maildir, file system flushed": { open: maildirInBulk },
  journal: { open: (places) => journaled(places), journal: "same disk" },
  "journal on another disk": { open: (places) => journaled(places), journal: "another disk" },
  // The following lose mail; they prove the rig.
  "directory syncs only": { open: async () => bare(deliverWithDirectorySyncsOnly) },
  "maildir without data syncs": {
    open: (places) => maildir(places, { fileSystem: withoutDataSyncs }),
  },
  "maildir without name syncs": {
    open: (places) => maildir(places, { fileSystem: withoutNameSyncs }),
  },
  "journal, written without flushes": faulty("written without flushes"),
  "journal, marked before the checkpoint": faulty("marked before the checkpoint"),
  "journal, settled before the names": faulty("settled before the names"),
} as const satisfies Record<string, MethodDefinition>;
export type Method = keyof typeof methods;

export function openMethod(name: Method, places: Places): Promise<OpenMethod> {
  return methods[name].open(places);
}

/** Where the journal of a method is; undefined without one. */
export function journalOf(name: Method): MethodDefinition["journal"] {
  const method: MethodDefinition = methods[name];
  return method.journal;
}

/** The whole server: its acknowledgement is the 250 to an SMTP client. */
async function server(
  { disk }: Places,
  commit: Readonly<Record<string, string>>,
): Promise<OpenMethod> {
  const ports = { smtp: "127.0.0.1:0", lmtp: "off", http: "off" };
  // The disk may be very slow, and these clients do not retry.
  const flags = { data: disk, ...ports, admissionTimeoutMs: "300000", ...commit };
  const running = await startServer({
    settings: loadSettings({ flags, environment: {} }).settings,
    log: openLog({ level: "error", format: "text" }),
    onDiskThreadDeath: () => process.exit(1),
  });
  const port = Number(running.listeners[0]?.address.split(":").at(-1));
  const send = async (mailbox: string, body: Buffer): Promise<undefined> => {
    const text = body.toString("latin1").trimEnd();
    const reply = await sendMessage(port, text, { to: `${basename(mailbox)}@localhost` });
    if (!reply?.startsWith("250 ")) throw new Error(`the server replied ${reply}`);
  };
  return {
    deliver: (mailbox, bodies) => Promise.all(bodies.map((body) => send(mailbox, body))),
    settled: async () => {},
    [Symbol.asyncDispose]: async () => void (await running.close({ timeoutMs: 0 })),
  };
}

async function executor({ disk }: Places, tuning: DeliveryTuning): Promise<OpenMethod> {
  const mailRoot = join(disk, mailDirectory);
  return overExecutor(await DeliveryExecutor.open({ ...tuning, mailRoot, commit: "synced" }));
}

async function journaled(places: Places): Promise<OpenMethod> {
  return overExecutor(await DeliveryExecutor.open({ ...journalCommit(places), publishWithinMs }));
}

function faulty(fault: JournalFault): MethodDefinition {
  const open = async (places: Places): Promise<OpenMethod> => {
    const { mailRoot, commit } = journalCommit(places);
    const committer = await openFaultyJournal(fault, mailRoot, commit);
    return overExecutor(await DeliveryExecutor.open({ committer }));
  };
  return { open, journal: "same disk" };
}

function overExecutor(open: DeliveryExecutor): OpenMethod {
  return {
    deliver: (mailbox, bodies) => Promise.all(bodies.map((body) => open.deliver(mailbox, body))),
    settled: (id) => open.published(id),
    [Symbol.asyncDispose]: () => open.close(),
  };
}

async function maildirInBulk(places: Places): Promise<OpenMethod> {
  const flush = await openFileSystemSync(places.disk);
  if (flush === undefined) throw new Error("needs perl or python3 for syncfs(2)");
  const method = await maildir(places, { syncFileSystem: () => flush.sync() });
  return { ...method, [Symbol.asyncDispose]: () => flush.close() };
}

const withoutDataSyncs: FileSystem = { ...nodeFileSystem, syncData: async () => {} };
const withoutNameSyncs: FileSystem = { ...nodeFileSystem, sync: async () => {} };

async function maildir({ disk }: Places, change: Partial<DeliverTools>): Promise<OpenMethod> {
  const tools: DeliverTools = {
    fileSystem: nodeFileSystem,
    clock: systemClock,
    names: createNameSource({ clock: systemClock }),
    known: createKnownMailboxes(),
    root: join(disk, mailDirectory),
    ...change,
  };
  return bare(async (mailbox, bodies) => {
    const deliveries = bodies.map((body) => ({ maildir: mailbox, body }));
    return (await deliverAll(deliveries, tools)).map((result) => {
      if (!result.ok) throw result.error;
      return result.id;
    });
  });
}

function bare(deliver: OpenMethod["deliver"]): OpenMethod {
  return { deliver, settled: async () => {}, [Symbol.asyncDispose]: async () => {} };
}
