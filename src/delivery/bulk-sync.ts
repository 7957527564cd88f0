/**
 * Flushing by whole file systems: which batches profit, and the one helper per file system.
 *
 * Sixty messages to sixty mailboxes would need sixty data flushes and a hundred and twenty
 * directory flushes; one syncfs(2) does the same in the time of a few. For a single message it is
 * the other way round, because a whole file system has more to write than one file. docs/decisions/
 * has the figures.
 *
 * A helper's descriptor must be older than the files it is to vouch for, or the kernel could have
 * reported their write error to somebody else. So a batch takes its helpers before it writes
 * anything and keeps to them: one that has failed stays failed for every batch that holds it.
 */
import { statSync } from "node:fs";
import { dirname } from "node:path";
import type { SyncPlan } from "../maildir/index.ts";
import { type FileSystemSync, openFileSystemSync, type SyncFileSystem } from "../system/index.ts";

/**
 * From how many files, and how many directories, one flush of the file system is the cheaper way.
 */
const BULK_FROM = { data: 8, names: 8 };

export const syncPlan: SyncPlan = (phase, count) => (count >= BULK_FROM[phase] ? "bulk" : "each");

/** Most file systems that get a helper process; mail on further ones is flushed file by file. */
const MAX_FILE_SYSTEMS = 8;

export class BulkSync {
  /** By device number; `undefined` where this machine has no such helper. */
  readonly #helpers = new Map<number, Promise<FileSystemSync | undefined>>();

  /**
   * Takes the helpers for a batch, opening what is missing.
   *
   * @returns A flush for the file systems of these mailboxes, or `undefined` if one cannot be had.
   */
  async forBatch(maildirs: Iterable<string>): Promise<SyncFileSystem | undefined> {
    const taken = new Map<number, FileSystemSync>();
    for (const maildir of maildirs) {
      const { directory, device } = nearestDirectory(maildir);
      if (taken.has(device)) continue;
      const helper = await this.#helperFor(device, directory);
      if (helper === undefined) return undefined;
      taken.set(device, helper);
    }
    return async (directory) => {
      const helper = taken.get(nearestDirectory(directory).device);
      if (helper === undefined) throw new Error(`"${directory}" moved to another file system`);
      await helper.sync();
    };
  }

  async close(): Promise<void> {
    const helpers = await Promise.all(this.#helpers.values());
    await Promise.all(helpers.map((helper) => helper?.close()));
  }

  async #helperFor(device: number, directory: string): Promise<FileSystemSync | undefined> {
    const held = this.#helpers.get(device);
    const helper = await held;
    const spent = helper !== undefined && !helper.usable;
    if (held !== undefined && !spent) return helper;
    if (this.#helpers.get(device) === held) {
      if (held === undefined && this.#helpers.size >= MAX_FILE_SYSTEMS) return undefined;
      void helper?.close();
      this.#helpers.set(
        device,
        openFileSystemSync(directory).catch(() => undefined),
      );
    }
    return this.#helpers.get(device);
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
