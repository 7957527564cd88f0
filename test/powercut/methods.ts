/** The ways of delivering that a load can use, by name: the engine's own, and some that lose mail. */
import { basename, join } from "node:path";
import { loadSettings, openLog, startServer } from "../../src/app/index.ts";
import {
  DeliveryExecutor,
  type DeliveryTuning,
  referenceTuning,
} from "../../src/delivery/index.ts";
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  deliverAll,
} from "../../src/maildir/index.ts";
import {
  type FileSystem,
  nodeFileSystem,
  openFileSystemSync,
  systemClock,
} from "../../src/system/index.ts";
import { sendMessage } from "../process/support/client.ts";
import { mailDirectory } from "./check.ts";
import { deliverWithDirectorySyncsOnly } from "./directory-syncs-only.ts";

export interface OpenMethod extends AsyncDisposable {
  /** Delivers into a mailbox; resolves with the file names in `new/`, as far as it knows them. */
  readonly deliver: (mailbox: string, bodies: readonly Buffer[]) => Promise<(string | undefined)[]>;
}

const methods = {
  server,
  executor: (disk: string) => executor(disk, {}),
  "executor, reference tuning": (disk: string) => executor(disk, referenceTuning),
  "maildir, each file flushed": (disk: string) => maildir(disk, {}),
  "maildir, file system flushed": maildirInBulk,
  // Known to lose mail; they prove the rig.
  "directory syncs only": async () => bare(deliverWithDirectorySyncsOnly),
  "maildir without data syncs": (disk: string) => maildir(disk, { fileSystem: withoutDataSyncs }),
  "maildir without name syncs": (disk: string) => maildir(disk, { fileSystem: withoutNameSyncs }),
} as const satisfies Record<string, (disk: string) => Promise<OpenMethod>>;
export type Method = keyof typeof methods;

/** @param disk The root of the file system under test. */
export function openMethod(name: Method, disk: string): Promise<OpenMethod> {
  return methods[name](disk);
}

/** The whole server: what it acknowledges is its 250 to an SMTP client. */
async function server(disk: string): Promise<OpenMethod> {
  const flags = { data: disk, smtp: "127.0.0.1:0", lmtp: "off", http: "off" };
  const running = await startServer({
    settings: loadSettings({ flags, environment: {} }).settings,
    log: await openLog({ level: "error", format: "text" }),
    onDiskThreadDeath: () => process.exit(1),
  });
  const port = Number(running.listeners[0]?.address.split(":").at(-1));
  const send = async (mailbox: string, body: Buffer): Promise<undefined> => {
    const text = body.toString("latin1").trimEnd();
    const reply = await sendMessage(port, text, { to: `${basename(mailbox)}@localhost` });
    if (!reply?.startsWith("250 ")) throw new Error(`the server said ${reply}`);
  };
  return {
    deliver: (mailbox, bodies) => Promise.all(bodies.map((body) => send(mailbox, body))),
    [Symbol.asyncDispose]: async () => void (await running.close({ timeoutMs: 0 })),
  };
}

async function executor(disk: string, tuning: DeliveryTuning): Promise<OpenMethod> {
  const mailRoot = join(disk, mailDirectory);
  const open = await DeliveryExecutor.open({ ...tuning, mailRoot, commit: "synced" });
  return {
    deliver: (mailbox, bodies) => Promise.all(bodies.map((body) => open.deliver(mailbox, body))),
    [Symbol.asyncDispose]: () => open.close(),
  };
}

async function maildirInBulk(disk: string): Promise<OpenMethod> {
  const flush = await openFileSystemSync(disk);
  if (flush === undefined) throw new Error("needs perl or python3 for syncfs(2)");
  const { deliver } = await maildir(disk, { syncFileSystem: () => flush.sync() });
  return { deliver, [Symbol.asyncDispose]: () => flush.close() };
}

const withoutDataSyncs: FileSystem = { ...nodeFileSystem, syncData: async () => {} };
const withoutNameSyncs: FileSystem = { ...nodeFileSystem, sync: async () => {} };

async function maildir(disk: string, change: Partial<DeliverTools>): Promise<OpenMethod> {
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
  return { deliver, [Symbol.asyncDispose]: async () => {} };
}
