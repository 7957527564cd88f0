/** The ways of delivering that a load can use, by name: the engine's own, and some known to lose mail. */
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
import { deliverWithDirectorySyncsOnly } from "./directory-syncs-only.ts";

export type DeliverBatch = (mailbox: string, bodies: readonly Buffer[]) => Promise<string[]>;

export interface OpenMethod extends AsyncDisposable {
  readonly deliver: DeliverBatch;
}

const methods = {
  executor: (root: string) => executor(root, {}),
  "executor, reference tuning": (root: string) => executor(root, referenceTuning),
  "maildir, each file flushed": (root: string) => maildir(root, {}),
  "maildir, file system flushed": bulkFlushed,
  // Known to lose mail; they prove the rig.
  "directory syncs only": async () => bare(deliverWithDirectorySyncsOnly),
  "maildir without data syncs": (root: string) => maildir(root, { fileSystem: withoutDataSyncs }),
  "maildir without name syncs": (root: string) => maildir(root, { fileSystem: withoutNameSyncs }),
} as const satisfies Record<string, (root: string) => Promise<OpenMethod>>;
export type Method = keyof typeof methods;

export function openMethod(name: Method, root: string): Promise<OpenMethod> {
  return methods[name](root);
}

async function executor(mailRoot: string, tuning: DeliveryTuning): Promise<OpenMethod> {
  const open = await DeliveryExecutor.open({ ...tuning, mailRoot, commit: "synced" });
  return {
    deliver: (mailbox, bodies) => Promise.all(bodies.map((body) => open.deliver(mailbox, body))),
    [Symbol.asyncDispose]: () => open.close(),
  };
}

async function bulkFlushed(root: string): Promise<OpenMethod> {
  const flush = await openFileSystemSync(root);
  if (flush === undefined) throw new Error("needs perl or python3 for syncfs(2)");
  const { deliver } = await maildir(root, { syncFileSystem: () => flush.sync() });
  return { deliver, [Symbol.asyncDispose]: () => flush.close() };
}

async function maildir(root: string, flushing: Partial<DeliverTools>): Promise<OpenMethod> {
  const tools: DeliverTools = {
    fileSystem: nodeFileSystem,
    clock: systemClock,
    names: createNameSource({ clock: systemClock }),
    known: createKnownMailboxes(),
    root,
    ...flushing,
  };
  return bare(async (mailbox, bodies) => {
    const results = await deliverAll(
      bodies.map((body) => ({ maildir: mailbox, body })),
      tools,
    );
    return results.map((result) => {
      if (!result.ok) throw result.error;
      return result.id;
    });
  });
}

const withoutDataSyncs: FileSystem = { ...nodeFileSystem, syncData: async () => {} };
const withoutNameSyncs: FileSystem = { ...nodeFileSystem, sync: async () => {} };

function bare(deliver: DeliverBatch): OpenMethod {
  return { deliver, [Symbol.asyncDispose]: async () => {} };
}
