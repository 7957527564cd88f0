/**
 * Directories that stay open from before a change until its names are flushed.
 *
 * An error in writing a directory back is reported to every descriptor that was open when it
 * happened, and to no descriptor opened afterwards. Each directory is flushed once, for all that
 * share it.
 */
import { type Descriptor, type FileSystem, invariant } from "../system/index.ts";

export interface OpenDirectories {
  /** @throws the errno error of opening it */
  open(path: string): void;
  /** Flushes these directories at the same time; each was opened before. */
  syncAll(paths: readonly string[]): Promise<void>;
  close(): void;
}

export function openDirectories(fileSystem: FileSystem): OpenDirectories {
  const descriptors = new Map<string, Descriptor>();
  const syncs = new Map<string, Promise<void>>();

  async function sync(path: string): Promise<void> {
    const descriptor = descriptors.get(path);
    invariant(descriptor !== undefined, `${path} was opened before its change`);
    const synced = syncs.get(path) ?? fileSystem.sync(descriptor);
    syncs.set(path, synced);
    return synced;
  }
  return {
    open: (path) => {
      if (!descriptors.has(path)) descriptors.set(path, fileSystem.openDirectory(path));
    },
    // Waits for all of them, so that no flush runs on a descriptor that is closed.
    syncAll: async (paths) => {
      for (const outcome of await Promise.allSettled(paths.map(sync))) {
        if (outcome.status === "rejected") throw outcome.reason;
      }
    },
    close: () => {
      for (const directory of descriptors.values()) closeQuietly(directory, fileSystem);
    },
  };
}

function closeQuietly(directory: Descriptor, fileSystem: FileSystem): void {
  try {
    fileSystem.close(directory);
  } catch {
    // Nothing was written through this descriptor.
  }
}
