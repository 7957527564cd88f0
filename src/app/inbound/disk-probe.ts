/** Tries whether a disk that failed stores data again. */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";

/**
 * Writes a small file, syncs it and removes it. Resolves when the disk has stored it.
 *
 * It works off the event loop's thread, because a failing disk may take long to answer.
 */
export async function probeDisk(folder: string): Promise<void> {
  const path = join(folder, "probe");
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile("Postbag tries whether the disk stores this.\n");
    await file.datasync();
  } finally {
    await file.close();
    await rm(path);
  }
}
