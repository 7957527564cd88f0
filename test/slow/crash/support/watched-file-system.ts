/**
 * The machine's own file system with somebody looking on: before and after each call that changes
 * something or waits for the disk, an onlooker is told which call it is and what it is about.
 *
 * What is done by descriptor is told by the path it was opened with. Calls that wait are also told
 * of while they are under way, so that a process can be killed in the middle of a write.
 */
import {
  type Descriptor,
  type FileSystem,
  type FileSystemSync,
  nodeFileSystem,
} from "../../../../src/system/index.ts";

export type Moment = "before" | "during" | "after";

export interface Operation {
  readonly call: keyof FileSystem | "syncFileSystem";
  readonly path: string;
  /** The new name, of a rename. */
  readonly to?: string;
  /** What is written into a log, and where. */
  readonly bytes?: Uint8Array;
  readonly position?: number;
}

export type Onlooker = (operation: Operation, moment: Moment) => void;

export function watchedFileSystem(onlooker: Onlooker): FileSystem {
  const real = nodeFileSystem;
  const paths = new Map<Descriptor, string>();
  const pathOf = (file: Descriptor) => paths.get(file) ?? "";

  function told<Value>(operation: Operation, act: () => Value): Value {
    onlooker(operation, "before");
    const value = act();
    onlooker(operation, "after");
    return value;
  }
  async function toldOfWait(operation: Operation, act: () => Promise<void>): Promise<void> {
    onlooker(operation, "before");
    const done = act();
    onlooker(operation, "during");
    await done;
    onlooker(operation, "after");
  }
  function opened(path: string, file: Descriptor): Descriptor {
    paths.set(file, path);
    return file;
  }

  return {
    ...real,
    createExclusive: (path, mode) =>
      told({ call: "createExclusive", path }, () => opened(path, real.createExclusive(path, mode))),
    openForReading: (path) => opened(path, real.openForReading(path)),
    openDirectory: (path) => opened(path, real.openDirectory(path)),
    openForLog: (path) => opened(path, real.openForLog(path)),
    write: (file, bytes) =>
      told({ call: "write", path: pathOf(file) }, () => real.write(file, bytes)),
    close: (file) => {
      told({ call: "close", path: pathOf(file) }, () => real.close(file));
      paths.delete(file);
    },
    rename: (from, to) => told({ call: "rename", path: from, to }, () => real.rename(from, to)),
    renameInto: (from, directory, name) => {
      const to = `${pathOf(directory)}/${name}`;
      told({ call: "renameInto", path: from, to }, () => real.renameInto(from, directory, name));
    },
    unlink: (path) => told({ call: "unlink", path }, () => real.unlink(path)),
    makeDirectory: (path, mode) =>
      told({ call: "makeDirectory", path }, () => real.makeDirectory(path, mode)),
    list: (path) => told({ call: "list", path }, () => real.list(path)),
    lock: (path) => told({ call: "lock", path }, () => real.lock(path)),
    writeAt: (file, bytes, position) =>
      toldOfWait({ call: "writeAt", path: pathOf(file), bytes, position }, () =>
        real.writeAt(file, bytes, position),
      ),
    syncData: (file) =>
      toldOfWait({ call: "syncData", path: pathOf(file) }, () => real.syncData(file)),
    sync: (file) => toldOfWait({ call: "sync", path: pathOf(file) }, () => real.sync(file)),
  };
}

/** A flush of a whole file system, with the same onlooker. */
export function watchedSync(
  sync: FileSystemSync,
  path: string,
  onlooker: Onlooker,
): FileSystemSync {
  const operation = { call: "syncFileSystem", path } as const;
  return {
    sync: async () => {
      onlooker(operation, "before");
      const done = sync.sync();
      onlooker(operation, "during");
      await done;
      onlooker(operation, "after");
    },
    get usable() {
      return sync.usable;
    },
    close: () => sync.close(),
  };
}
