/**
 * What becomes of a message that was acknowledged and cannot be published: it is written to the log
 * again and tried later, and in the end kept in `orphans/`, a Maildir in the staging directory. It is
 * never dropped, and a mailbox that is gone is never made again: its account may have been deleted.
 */
import { type KnownMailboxes, keepMailboxes, MaildirError } from "../../maildir/index.ts";
import type { FileSystem } from "../../system/index.ts";
import { errnoOf } from "../errors.ts";
import { orphansIn } from "../volumes/staging-directories.ts";
import type { Mailing } from "./publication.ts";
import type { Staging } from "./staging.ts";

/** Attempts before a message is given up on; with their pauses they last about two minutes. */
export const maxTries = 8;
const firstPauseMs = 1000;
const longestPauseMs = 60_000;

/** The mailbox does not exist any more, or has become something else. */
export function isGone(obstacle: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoOf(obstacle) ?? "");
}

/** Decides about a message that met an obstacle. */
export function fateOf(obstacle: unknown, tries: number): "orphan" | "again" {
  return isGone(obstacle) || tries >= maxTries ? "orphan" : "again";
}

/** How long to wait before the next attempt. */
export function pauseMs(tries: number): number {
  return Math.min(longestPauseMs, firstPauseMs * 2 ** Math.max(0, tries - 1));
}

/**
 * Moves staged messages to `orphans/`; on return they are durable there.
 *
 * @throws the error of the disk; what was not moved is still in staging.
 */
export async function moveToOrphans(
  mailings: readonly Mailing[],
  staging: Staging,
  tools: { readonly fileSystem: FileSystem; readonly known: KnownMailboxes },
): Promise<void> {
  const { fileSystem, known } = tools;
  const path = orphansIn(staging.path);
  const kept = await keepMailboxes([path], { fileSystem, known, root: staging.path });
  const orphans = kept.get(path);
  if (orphans === undefined || orphans instanceof MaildirError) throw orphans;
  const directory = fileSystem.openDirectory(orphans.new);
  try {
    for (const { record } of mailings) {
      try {
        fileSystem.renameInto(staging.pathOf(record.id), directory, record.id);
      } catch (error) {
        // An attempt that could not be flushed has moved it already.
        if (errnoOf(error) !== "ENOENT") throw error;
      }
    }
    await fileSystem.sync(directory);
    await staging.syncNames();
  } finally {
    fileSystem.close(directory);
  }
}
