/**
 * Directories held open from before a change until its names are flushed.
 *
 * Held, because an error in writing a directory back is reported to every descriptor that was open when
 * it happened, and to nobody who opens it afterwards. Each is flushed once, for all who share it.
 */
import type { Descriptor, FileSystem } from "../system/index.ts";

export interface OpenDirectories {
  /** @throws the errno error of opening it */
  open(path: string): void;
  /** Flushes these directories, each of which was opened, at the same time. */
  flushAll(paths: readonly string[]): Promise<void>;
  close(): void;
}

export function openDirectories(fileSystem: FileSystem): OpenDirectories {
  const descriptors = new Map<string, Descriptor>();
  const flushes = new Map<string, Promise<void>>();

  function flush(path: string): Promise<void> {
    const flushed = flushes.get(path) ?? fileSystem.sync(descriptors.get(path)!);
    flushes.set(path, flushed);
    return flushed;
  }
  return {
    open: (path) => {
      if (!descriptors.has(path)) descriptors.set(path, fileSystem.openDirectory(path));
    },
    // Waits for every one, so that no flush is left behind on a descriptor that is closed.
    flushAll: async (paths) => {
      for (const outcome of await Promise.allSettled(paths.map(async (path) => flush(path)))) {
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
