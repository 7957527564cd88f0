/** Tries whether a disk that failed stores data again; `observe/health.ts` calls it for /readyz. */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";

/**
 * Writes a small file, syncs it and removes it. Resolves when the sync has succeeded.
 *
 * The calls run in Node's thread pool, because a failing disk would block the event loop.
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
