/**
 * Who carries the files: the many small calls that write messages into staging and rename them into
 * mailboxes. They only touch the page cache; what makes them last is asked for elsewhere.
 *
 * They cost more time than all else that becomes of a message, and whoever makes them cannot write the
 * log meanwhile. So in a server a thread of its own does (porter-thread.ts); here is the work itself.
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
  /** Held open until the move is done. */
  readonly directory: Descriptor;
  readonly name: string;
}

export interface Porter {
  /** Writes all of them to new files, and closes them. @throws the first error; then not all are written */
  write(files: readonly NewFile[]): Promise<void>;
  /** Renames all that can be, in order; answers for each with `undefined` or the error it met. */
  rename(moves: readonly Move[]): Promise<readonly unknown[]>;
  close(): Promise<void>;
}

/** Does the work in this thread, in slices. */
export function localPorter(fileSystem: FileSystem, clock: Clock): Porter {
  return {
    write: (files) =>
      inSlices(files, clock, (slice) => {
        for (const file of slice) writeFile(file, fileSystem);
      }),
    rename: async (moves) => {
      const outcomes: unknown[] = [];
      await inSlices(moves, clock, (slice) => {
        for (const move of slice) outcomes.push(obstacleTo(move, fileSystem));
      });
      return outcomes;
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

/** A remnant is never written into: only of a new file do later flushes tell the truth. */
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
export function obstacleTo({ from, directory, name }: Move, fileSystem: FileSystem): unknown {
  try {
    fileSystem.renameInto(from, directory, name);
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Files handled before the event loop gets a turn, and descriptors held at once. */
const sliceFiles = 32;

/** Calls `action` for one slice of the items after the other, with a turn of the event loop between. */
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
