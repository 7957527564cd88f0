/**
 * The file worker: the many small calls that write messages into staging and rename them into
 * mailboxes. They only touch the page cache; staging.ts and publish-round.ts flush.
 *
 * These calls take most of the time that a message costs, and a thread that makes them cannot write
 * the log meanwhile. So in a server a thread of its own makes them (file-worker-thread.ts); this
 * file has the work itself.
 */
import { type Clock, type Descriptor, errnoOf, type FileSystem } from "../../system/index.ts";

export interface NewFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** Becomes the modification time, in milliseconds since 1970. */
  readonly modifiedMs: number | undefined;
}

export interface Move {
  readonly from: string;
  /** Open until the move is done. */
  readonly directory: Descriptor;
  readonly name: string;
}

export interface FileWorker {
  /** Writes all files. @throws the first error; then some of them are not written */
  write(files: readonly NewFile[]): Promise<void>;
  /** Renames files, in order; resolves with the error of each, `undefined` for success. */
  rename(moves: readonly Move[]): Promise<readonly unknown[]>;
  close(): Promise<void>;
}

/** Works in this thread, in slices. */
export function localFileWorker(fileSystem: FileSystem, clock: Clock): FileWorker {
  return {
    write: (files) =>
      inSlices(files, clock, (slice) => {
        for (const file of slice) writeFile(file, fileSystem);
      }),
    rename: async (moves) => {
      const failures: unknown[] = [];
      await inSlices(moves, clock, (slice) => {
        for (const move of slice) failures.push(tryRename(move, fileSystem));
      });
      return failures;
    },
    close: async () => {},
  };
}

export function writeFile({ path, bytes, modifiedMs }: NewFile, fileSystem: FileSystem): void {
  const file = createNew(path, fileSystem);
  try {
    fileSystem.write(file, bytes);
    if (modifiedMs !== undefined) fileSystem.setModified(file, modifiedMs);
  } catch (error) {
    fileSystem.close(file);
    fileSystem.unlink(path);
    throw error;
  }
  fileSystem.close(file);
}

/**
 * Creates a file, replacing one that an unfinished write left: only for a new file do later flushes
 * report every failure.
 */
export function createNew(path: string, fileSystem: FileSystem): Descriptor {
  try {
    return fileSystem.createExclusive(path, 0o600);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    fileSystem.unlink(path);
    return fileSystem.createExclusive(path, 0o600);
  }
}

/** Renames; returns the error instead of throwing it. */
export function tryRename({ from, directory, name }: Move, fileSystem: FileSystem): unknown {
  try {
    fileSystem.renameInto(from, directory, name);
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Files handled before the event loop gets a turn, and descriptors open at once. */
const sliceFiles = 32;

/**
 * Calls `action` for one slice of the items after the other, with a turn of the event loop between:
 * the disk thread also writes the log, whose callers wait for an answer.
 */
export async function inSlices<Item>(
  items: readonly Item[],
  clock: Clock,
  action: (slice: readonly Item[]) => void | Promise<void>,
): Promise<void> {
  for (let at = 0; at < items.length; at += sliceFiles) {
    await action(items.slice(at, at + sliceFiles));
    if (at + sliceFiles < items.length) await new Promise<void>((turn) => clock.setImmediate(turn));
  }
}
