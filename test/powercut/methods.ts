/** The ways of delivering that a load can use, by name. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
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
import { nodeFileSystem, type SyncFileSystem, systemClock } from "../../src/system/index.ts";
import { careful, type DeliverBatch, withoutDataSync, withoutNameSync } from "./sequences.ts";

export interface OpenMethod extends AsyncDisposable {
  readonly deliver: DeliverBatch;
}

const methods = {
  executor: (root: string) => executor(root, {}),
  "executor, reference tuning": (root: string) => executor(root, referenceTuning),
  "maildir, each file flushed": (root: string) => maildir(root, {}),
  "maildir, file system flushed": (root: string) => maildir(root, { syncFileSystem }),
  "by hand": async () => bare(careful),
  "by hand, no data sync": async () => bare(withoutDataSync),
  "by hand, no name sync": async () => bare(withoutNameSync),
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

const syncFileSystem: SyncFileSystem = async (directory) => {
  await promisify(execFile)("sync", ["--file-system", directory]);
};

function bare(deliver: DeliverBatch): OpenMethod {
  return { deliver, [Symbol.asyncDispose]: async () => {} };
}
