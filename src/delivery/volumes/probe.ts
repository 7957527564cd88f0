/**
 * Tries, for volumes.ts before a mailbox's first message, whether files can be renamed from a
 * staging directory into the mailbox.
 *
 * Equal device numbers do not prove it: project quotas of XFS, bind mounts and btrfs subvolumes
 * refuse the rename all the same. And a file created in the mailbox may get another owner, group or
 * mode than a file created in staging. So one file is created in each, and the two are compared in
 * the mailbox.
 */
import { join } from "node:path";
import type { Mailbox } from "../../maildir/index.ts";
import { errnoOf, type FileSystem } from "../../system/index.ts";

/** Makes the names of this process's probes unique. */
let count = 0;

/** Errors by which the mailbox can never be served from there; any other, as ENOSPC, may pass. */
const refusals = ["EXDEV", "EPERM", "EACCES"];

/**
 * Renames a probe from staging into the mailbox's `tmp/`, and removes it again.
 *
 * @returns Whether the mailbox can be served from this staging directory.
 * @throws the errno error of a failure that says nothing about the mailbox.
 */
export function probe(staging: string, mailbox: Mailbox, fileSystem: FileSystem): boolean {
  count += 1;
  const staged = join(staging, `.probe-${process.pid}-${count}`);
  const moved = join(mailbox.tmp, `.postbag-probe-${process.pid}-${count}`);
  const made = `${moved}-made`;
  try {
    fileSystem.close(fileSystem.createExclusive(staged, 0o600));
    fileSystem.close(fileSystem.createExclusive(made, 0o600));
    fileSystem.rename(staged, moved);
    const [a, b] = [fileSystem.status(moved), fileSystem.status(made)];
    return a.uid === b.uid && a.gid === b.gid && a.mode === b.mode;
  } catch (error) {
    if (refusals.includes(errnoOf(error) ?? "")) return false;
    throw error;
  } finally {
    for (const path of [staged, moved, made]) remove(path, fileSystem);
  }
}

function remove(path: string, fileSystem: FileSystem): void {
  try {
    fileSystem.unlink(path);
  } catch {
    // It was not created, or was renamed.
  }
}
