/**
 * What other rooms may do with the files of a journal that is not open: count its segments, and
 * move damaged ones aside. The names of the files are spelt in this room only.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type FileSystem, nodeFileSystem } from "../system/index.ts";
import { isSegmentName, lockName } from "./segment-files.ts";

/** Counts the segment files in a directory; `undefined` where it cannot be read. */
export async function countSegments(directory: string): Promise<number | undefined> {
  const names = await readdir(directory).catch(() => undefined);
  return names?.filter(isSegmentName).length;
}

/**
 * Moves all segments into a new folder beside them, so that the next opening begins a new journal.
 * Nothing is deleted; on return the move survives a power cut.
 *
 * @returns The path of the folder: `damaged-<date and time>`.
 * @throws an error with code `EAGAIN` while a process has the journal open, else the errno error.
 */
export async function setSegmentsAside(
  directory: string,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<string> {
  const unlock = fileSystem.lock(join(directory, lockName));
  try {
    const stamp = new Date().toISOString().replace(/[-:]|\..*/g, "");
    const aside = join(directory, `damaged-${stamp}`);
    fileSystem.makeDirectory(aside, 0o700);
    for (const name of fileSystem.list(directory).filter(isSegmentName)) {
      fileSystem.rename(join(directory, name), join(aside, name));
    }
    for (const path of [aside, directory]) {
      const opened = fileSystem.openDirectory(path);
      await fileSystem.sync(opened).finally(() => fileSystem.close(opened));
    }
    return aside;
  } finally {
    unlock();
  }
}
