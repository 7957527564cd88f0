/**
 * One long-lived flush for each file system, replaced once it is spent.
 *
 * A helper's descriptor must be older than the files that it vouches for, or the kernel could have
 * reported their write error to another descriptor. So a batch takes its helpers before it writes
 * anything and uses only these: a failed helper stays failed for every batch that holds it.
 */
import { statSync } from "node:fs";
import { dirname } from "node:path";
import type { SyncFileSystem } from "../file-system.ts";
import { type FileSystemSync, openFileSystemSync } from "./file-system-sync.ts";

/** The flush of one file system: opened when first taken, and again once it is spent. */
export class ReopenedSync {
  readonly #open: () => Promise<FileSystemSync | undefined>;
  #current: Promise<FileSystemSync | undefined> | undefined;

  /**
   * @param open - Resolves with `undefined` if the machine has no such flush; then not called
   *   again.
   */
  constructor(open: () => Promise<FileSystemSync | undefined>) {
    this.#open = open;
  }

  /** Takes the flush for files made from now on; `undefined` if it cannot be opened. */
  async take(): Promise<FileSystemSync | undefined> {
    const held = this.#current;
    const sync = await held;
    const isSpent = sync !== undefined && !sync.usable;
    if (held !== undefined && !isSpent) return sync;
    // Another caller may have opened it anew meanwhile.
    if (this.#current === held) {
      void sync?.close();
      this.#current = this.#open().catch(() => undefined);
    }
    return this.#current;
  }

  async close(): Promise<void> {
    const sync = await this.#current;
    await sync?.close();
  }
}

/** File systems with a helper process, at most; files on further ones are flushed one by one. */
const maxFileSystems = 8;

export class SyncByDevice {
  /** By device number. */
  readonly #syncs = new Map<number, ReopenedSync>();

  /**
   * Takes the flushes for a batch, opening those that are missing.
   *
   * @param paths - Directories; a missing one counts as on the file system of the nearest one
   *   above.
   * @returns A flush for the file systems of these paths, or `undefined` if one of them has none.
   */
  async forBatch(paths: Iterable<string>): Promise<SyncFileSystem | undefined> {
    const taken = new Map<number, FileSystemSync>();
    for (const path of paths) {
      const nearest = examined(path);
      if (nearest === undefined || taken.has(nearest.device)) continue;
      const sync = await this.#syncOf(nearest.device, nearest.directory)?.take();
      if (sync === undefined) return undefined;
      taken.set(nearest.device, sync);
    }
    return async (directory) => {
      const sync = taken.get(nearestDirectory(directory).device);
      if (sync === undefined) throw new Error(`"${directory}" moved to another file system`);
      await sync.sync();
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#syncs.values()].map((sync) => sync.close()));
  }

  #syncOf(device: number, directory: string): ReopenedSync | undefined {
    const known = this.#syncs.get(device);
    if (known || this.#syncs.size >= maxFileSystems) return known;
    const sync = new ReopenedSync(() => openFileSystemSync(directory));
    this.#syncs.set(device, sync);
    return sync;
  }
}

interface NearestDirectory {
  readonly directory: string;
  readonly device: number;
}

/**
 * As {@link nearestDirectory}; `undefined` where the system refuses it, as in a loop of links. A
 * write to such a path fails by itself and must not fail the rest of its batch.
 */
function examined(path: string): NearestDirectory | undefined {
  try {
    return nearestDirectory(path);
  } catch {
    return undefined;
  }
}

/** The directory at `path`, or the nearest one above it. */
function nearestDirectory(path: string): NearestDirectory {
  for (let directory = path; ; directory = dirname(directory)) {
    const status = statSync(directory, { throwIfNoEntry: false });
    if (status?.isDirectory()) return { directory, device: status.dev };
    if (directory === dirname(directory)) throw new Error(`no directory lies above "${path}"`);
  }
}
