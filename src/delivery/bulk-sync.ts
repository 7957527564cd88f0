/**
 * Flushing by whole file systems: which batches profit, and the one helper per file system.
 *
 * Sixty messages to sixty mailboxes would need sixty data flushes and a hundred and twenty directory
 * flushes; one syncfs(2) does the same in the time of a few. For a single message it is the other way
 * round, because a whole file system has more to write than one file. docs/decisions/ has the figures.
 *
 * A helper's descriptor must be older than the files it is to vouch for, or the kernel could have
 * reported their write error to somebody else. So `covers` is asked before a batch writes anything.
 */
import { statSync } from "node:fs";
import { dirname } from "node:path";
import type { SyncPlan } from "../maildir/index.ts";
import { type FileSystemSync, openFileSystemSync } from "../system/index.ts";

/** From how many files, and how many directories, one flush of the file system is the cheaper way. */
const BULK_FROM = { data: 4, names: 8 };

export const syncPlan: SyncPlan = (phase, count) => (count >= BULK_FROM[phase] ? "bulk" : "each");

/** Most file systems that get a helper process; mail on further ones is flushed file by file. */
const MAX_FILE_SYSTEMS = 8;

export class BulkSync {
  /** By device number; `undefined` where this machine has no such helper. */
  readonly #helpers = new Map<number, Promise<FileSystemSync | undefined>>();

  /** Opens what is missing and says whether every one of these mailboxes can be flushed in bulk. */
  async covers(maildirs: Iterable<string>): Promise<boolean> {
    const helpers = await Promise.all([...maildirs].map((maildir) => this.#helperFor(maildir)));
    return helpers.every((helper) => helper !== undefined);
  }

  /** Flushes the file system that holds a directory; {@link covers} must have said yes to it. */
  readonly sync = async (directory: string): Promise<void> => {
    const helper = await this.#helperFor(directory);
    if (helper === undefined) throw new Error(`no file system flush for "${directory}"`);
    await helper.sync();
  };

  async close(): Promise<void> {
    const helpers = await Promise.all(this.#helpers.values());
    await Promise.all(helpers.map((helper) => helper?.close()));
  }

  #helperFor(path: string): Promise<FileSystemSync | undefined> {
    const { directory, device } = nearestDirectory(path);
    let helper = this.#helpers.get(device);
    if (helper === undefined) {
      if (this.#helpers.size >= MAX_FILE_SYSTEMS) return Promise.resolve(undefined);
      helper = openFileSystemSync(directory).catch(() => undefined);
      this.#helpers.set(device, helper);
    }
    return helper;
  }
}

/** The mailbox, or what exists above it: a new mailbox will lie on the same file system. */
function nearestDirectory(path: string): { directory: string; device: number } {
  for (let directory = path; ; directory = dirname(directory)) {
    const status = statSync(directory, { throwIfNoEntry: false });
    if (status?.isDirectory()) return { directory, device: status.dev };
    if (directory === dirname(directory)) throw new Error(`"${path}" lies nowhere`);
  }
}
