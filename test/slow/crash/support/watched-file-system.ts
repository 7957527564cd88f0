/**
 * The machine's own file system with an observer: it is called before and after each call that
 * changes a file or waits for the disk, with the call and its path.
 *
 * For a descriptor the path is the one it was opened with. For a call that waits the observer is
 * also called while the call runs, so that a process can be killed in the middle of a write.
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
  /** Bytes written into a log, and their position. */
  readonly bytes?: Uint8Array;
  readonly position?: number;
}

export type Observer = (operation: Operation, moment: Moment) => void;

export function watchedFileSystem(observer: Observer): FileSystem {
  const real = nodeFileSystem;
  const paths = new Map<Descriptor, string>();
  const pathOf = (file: Descriptor) => paths.get(file) ?? "";

  function observed<Value>(operation: Operation, act: () => Value): Value {
    observer(operation, "before");
    const value = act();
    observer(operation, "after");
    return value;
  }
  async function observedWait(operation: Operation, act: () => Promise<void>): Promise<void> {
    observer(operation, "before");
    const done = act();
    observer(operation, "during");
    await done;
    observer(operation, "after");
  }
  function opened(path: string, file: Descriptor): Descriptor {
    paths.set(file, path);
    return file;
  }

  return {
    ...real,
    createExclusive: (path, mode) =>
      observed({ call: "createExclusive", path }, () =>
        opened(path, real.createExclusive(path, mode)),
      ),
    openForReading: (path) => opened(path, real.openForReading(path)),
    openDirectory: (path) => opened(path, real.openDirectory(path)),
    openForLog: (path) => opened(path, real.openForLog(path)),
    write: (file, bytes) =>
      observed({ call: "write", path: pathOf(file) }, () => real.write(file, bytes)),
    close: (file) => {
      observed({ call: "close", path: pathOf(file) }, () => real.close(file));
      paths.delete(file);
    },
    rename: (from, to) => observed({ call: "rename", path: from, to }, () => real.rename(from, to)),
    renameInto: (from, directory, name) => {
      const to = `${pathOf(directory)}/${name}`;
      observed({ call: "renameInto", path: from, to }, () =>
        real.renameInto(from, directory, name),
      );
    },
    unlink: (path) => observed({ call: "unlink", path }, () => real.unlink(path)),
    makeDirectory: (path, mode) =>
      observed({ call: "makeDirectory", path }, () => real.makeDirectory(path, mode)),
    list: (path) => observed({ call: "list", path }, () => real.list(path)),
    lock: (path) => observed({ call: "lock", path }, () => real.lock(path)),
    writeAt: (file, bytes, position) =>
      observedWait({ call: "writeAt", path: pathOf(file), bytes, position }, () =>
        real.writeAt(file, bytes, position),
      ),
    syncData: (file) =>
      observedWait({ call: "syncData", path: pathOf(file) }, () => real.syncData(file)),
    sync: (file) => observedWait({ call: "sync", path: pathOf(file) }, () => real.sync(file)),
  };
}

/** A flush of a whole file system, with the same observer. */
export function watchedSync(
  sync: FileSystemSync,
  path: string,
  observer: Observer,
): FileSystemSync {
  const operation = { call: "syncFileSystem", path } as const;
  return {
    sync: async () => {
      observer(operation, "before");
      const done = sync.sync();
      observer(operation, "during");
      await done;
      observer(operation, "after");
    },
    get usable() {
      return sync.usable;
    },
    close: () => sync.close(),
  };
}
