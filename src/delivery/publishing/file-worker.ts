/**
 * The file worker: the many small calls that write messages into staging (for staging.ts) and
 * rename them into mailboxes (for publish-round.ts). They touch the page cache only; the callers
 * flush.
 *
 * These calls take most of the time that a message costs, and a thread that makes them cannot write
 * the log meanwhile. So in a server file-worker-thread.ts makes them, with the functions of this
 * file; tests use `localFileWorker`.
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
  /** The target directory; the caller closes it after the move. */
  readonly directory: Descriptor;
  readonly name: string;
}

export interface FileWorker {
  /** Writes all files, not durably. @throws the first error; then some files are not written */
  write(files: readonly NewFile[]): Promise<void>;
  /** Renames files in order, not durably; resolves with each error, `undefined` for success. */
  rename(moves: readonly Move[]): Promise<readonly unknown[]>;
  close(): Promise<void>;
}

/** A file worker in the caller's thread; between slices of files the event loop gets a turn. */
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

/** Creates a file with its bytes and time, not durably; a failure leaves no file. */
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
 * Creates a file; one that an unfinished write left is removed first, because only on a new file
 * do later flushes report every failed write.
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

/** Makes one move; returns its error, `undefined` for success. */
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
 * Calls `action` for one slice of the items after the other, with a turn of the event loop between
 * slices: the disk thread also writes the log, and clients wait for that.
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
