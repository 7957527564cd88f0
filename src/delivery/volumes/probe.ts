/**
 * Tries out, before the first message, whether a mailbox can be served from a staging directory.
 *
 * Equal device numbers do not say so: project quotas of XFS, bind mounts and btrfs subvolumes refuse the
 * rename all the same. And a file made in the mailbox may get another owner, group or mode than one made
 * in staging. So one of each kind is made, and both are compared where they ended up.
 */
import { join } from "node:path";
import type { Mailbox } from "../../maildir/index.ts";
import type { FileSystem } from "../../system/index.ts";
import { errnoOf } from "../errors.ts";

let count = 0;

/** What says that it can never be; a full disk, for one, says nothing of the kind. */
const refusals = ["EXDEV", "EPERM", "EACCES"];

/**
 * Renames a probe from staging into the mailbox's `tmp/`, and leaves nothing behind.
 *
 * @throws the errno error of a fault that says nothing about the mailbox.
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
    for (const path of [staged, moved, made]) removed(path, fileSystem);
  }
}

function removed(path: string, fileSystem: FileSystem): void {
  try {
    fileSystem.unlink(path);
  } catch {
    // It was not made, or has moved on.
  }
}
