/**
 * The checks of `doctor` on the journal: its segments and their damage; its unpublished mail
 * (durable in the journal, not yet in a mailbox) with the steps that recovery would take; and the
 * staging directories (where mail is written before its rename into a mailbox). They only read.
 */
import { statfsSync } from "node:fs";
import { type InspectedVolume, type JournalInspection, listStaging } from "../../delivery/index.ts";
import { countSegments } from "../../journal/index.ts";
import { type DataDirectory, journalFolderOf } from "../data-directory.ts";
import { AppError } from "../errors.ts";
import { inspectJournalOf } from "../inbound/open-executor.ts";
import type { Settings } from "../settings/table.ts";
import { bad, type Check, good, warning } from "./check.ts";
import { nearestExisting } from "./file-system-check.ts";

/** @param isRunning Whether a server runs on this data directory and so publishes the mail. */
export async function checkJournal(
  settings: Settings,
  data: DataDirectory,
  isRunning: boolean,
): Promise<Check[]> {
  const folder = journalFolderOf(settings);
  const isUsed = settings.commit === "journal";
  const room = isUsed && !isRunning ? await checkRoom(settings, folder) : [];
  try {
    const found = await inspectJournalOf({ settings, data });
    if (found === undefined) {
      const made = isUsed ? [good("Journal", `${folder}, to be created`)] : [];
      return [...made, ...room, ...(await checkStaging(data, undefined))];
    }
    const { id, starts, segments, damage } = found;
    const live = segments.filter(({ state }) => state === "live").length;
    return [
      good(
        "Journal",
        `${folder}, opened ${starts} times; ${segments.length} segments of ${inMiB(segments)}, ${live} in use`,
      ),
      ...room,
      ...checkUnpublished(found, isRunning, isUsed),
      ...damage.map((text) => bad("Journal damage", text, adviceOnDamage)),
      ...(await checkStaging(data, id)),
    ];
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // A segment that the running server overwrites while doctor reads it looks damaged.
    if (isRunning && error.code === "ERR_APP_JOURNAL") {
      return [good("Journal", `${folder}, in use`)];
    }
    const advice = "Nothing in it was changed; see docs/guides/something-is-wrong.md.";
    return [bad("Journal", error.message, advice)];
  }
}

const adviceOnDamage =
  "Stop the server and copy the folder. Then `postbag recover` publishes the undamaged mail, and `postbag recover --accept-damage` moves the damaged segments aside.";

function checkUnpublished(found: JournalInspection, isRunning: boolean, isUsed: boolean): Check[] {
  const name = "Unpublished mail";
  if (found.volumes.length === 0) return [good(name, "none")];
  return found.volumes.map((volume) => {
    const what = describeUnpublished(volume);
    if (!volume.isRecognised) {
      return bad(
        name,
        `${what}; the volume is missing, or is not the one the journal knows`,
        "Mount it, or restore the right one. Until then the mail stays in the journal.",
      );
    }
    if (isRunning) return good(name, `${what}; the running server is publishing it`);
    const advice = isUsed
      ? "The next start of the server publishes it, and so does: postbag recover"
      : "Publish it with: postbag recover";
    return warning(name, what, advice);
  });
}

/** Describes what recovery would do with the mail of a volume (the file system of mailboxes). */
export function describeUnpublished(volume: InspectedVolume): string {
  const { toRestore, toFinish, toSkip, toKeep, owedBytes, mailboxes, directory } = volume;
  const messages = toRestore + toFinish + toKeep;
  const parts = [
    [toRestore, "to be restored from the journal"],
    [toFinish, "staged and to be published"],
    [toKeep, "waiting for their volume"],
    [toSkip, "published already"],
  ] as const;
  const counts = parts.flatMap(([count, text]) => (count > 0 ? [`${count} ${text}`] : []));
  return `${messages} messages (${owedBytes} bytes) for ${mailboxes.length} mailboxes below ${directory}: ${counts.join(", ")}`;
}

/** Checks that the disk has room for the segments that the server has still to create. */
async function checkRoom(settings: Settings, folder: string): Promise<Check[]> {
  const { journalSegments, journalSegmentBytes } = settings;
  const { bavail, bsize } = statfsSync(nearestExisting(folder));
  const there = (await countSegments(folder)) ?? 0;
  const needed = Math.max(0, journalSegments - there) * journalSegmentBytes;
  const free = bavail * bsize;
  const found = `${Math.floor(free / 2 ** 20)} MiB free, ${Math.ceil(needed / 2 ** 20)} MiB may be needed for segments`;
  if (free >= needed) return [good("Room for the journal", found)];
  const advice = "Free some space, or lower --journal-segments or --journal-segment-bytes.";
  return [warning("Room for the journal", found, advice)];
}

/** Checks the staging directories of the journal with this id, and those of other journals. */
async function checkStaging(data: DataDirectory, id: string | undefined): Promise<Check[]> {
  const directories = await listStaging(data.mail);
  return directories.flatMap(({ path, journalId, orphans, setAside }) => {
    const checks: Check[] = [];
    if (orphans.messages > 0) {
      const what = `${orphans.messages} messages in ${orphans.path} could not be published: their mailbox was gone, or refused them for minutes`;
      checks.push(
        warning("Orphans", what, "Read them as a Maildir, deliver or delete them by hand."),
      );
    }
    if (setAside.files > 0) {
      const what = `${setAside.files} files in ${setAside.path} may be mail that a damaged journal referenced`;
      checks.push(warning("Set aside", what, "Look at them, then delete them."));
    }
    if (journalId !== id) {
      const what = `${path} belongs to a journal that is not in use`;
      const advice =
        "If that journal still exists: postbag recover --journal ITS_FOLDER. Else delete this directory.";
      checks.push(warning("Another journal", what, advice));
    }
    return checks;
  });
}

function inMiB(segments: JournalInspection["segments"]): string {
  const sizes = new Set(segments.map(({ bytes }) => `${bytes / 2 ** 20} MiB`));
  return [...sizes].join(" and ") || "0 MiB";
}
