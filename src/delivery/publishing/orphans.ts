/**
 * Acknowledged messages that cannot be published: publisher.ts logs each again and retries it, and
 * in the end moves it to `orphans/`, a Maildir in the staging directory.
 *
 * A message is never dropped. A mailbox that is gone is never created again: its account may have
 * been deleted.
 */
import { ensureMailboxes, type KnownMailboxes, MaildirError } from "../../maildir/index.ts";
import { errnoOf, type FileSystem } from "../../system/index.ts";
import { orphansIn } from "../volumes/staging-directories.ts";
import type { Publication } from "./publication.ts";
import type { Staging } from "./staging.ts";

/** Attempts before a message becomes an orphan; the pauses between them are two minutes in all. */
const maxTries = 8;
const firstPauseMs = 1000;
const maxPauseMs = 60_000;

/** Whether the mailbox no longer exists, or has become something else. */
export function isGone(failure: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoOf(failure) ?? "");
}

/** What to do with a message that could not be published; `tries` counts its failed attempts. */
export function afterFailure(failure: unknown, tries: number): "orphan" | "retry" {
  return isGone(failure) || tries >= maxTries ? "orphan" : "retry";
}

/** Pause before the next attempt, in milliseconds: 1 s, doubled each time, at most 60 s. */
export function retryPauseMs(tries: number): number {
  return Math.min(maxPauseMs, firstPauseMs * 2 ** Math.max(0, tries - 1));
}

/**
 * Moves staged messages to `orphans/`; on return they are durable in it.
 *
 * @throws the error of the disk; messages not moved are still in staging, and a second call for the
 *   same messages is safe.
 */
export async function moveToOrphans(
  publications: readonly Publication[],
  staging: Staging,
  tools: { readonly fileSystem: FileSystem; readonly known: KnownMailboxes },
): Promise<void> {
  const { fileSystem, known } = tools;
  const path = orphansIn(staging.path);
  const made = await ensureMailboxes([path], { fileSystem, known, root: staging.path });
  const orphans = made.get(path);
  if (orphans === undefined || orphans instanceof MaildirError) throw orphans;
  const directory = fileSystem.openDirectory(orphans.new);
  try {
    for (const { record } of publications) {
      try {
        fileSystem.renameInto(staging.pathOf(record.id), directory, record.id);
      } catch (error) {
        // An earlier attempt whose flush failed has moved it already.
        if (errnoOf(error) !== "ENOENT") throw error;
      }
    }
    await fileSystem.sync(directory);
    await staging.syncNames();
  } finally {
    fileSystem.close(directory);
  }
}
