/**
 * What `doctor` says about the journal: its segments, the mail it owes and what would become of it, what
 * lies in staging, and what is wrong with any of it. It only reads.
 */
import { existsSync, readdirSync, statfsSync } from "node:fs";
import { type InspectedVolume, type JournalInspection, listStaging } from "../../delivery/index.ts";
import { type DataDirectory, journalFolderOf } from "../data-directory.ts";
import { AppError } from "../errors.ts";
import { lookAtJournal } from "../inbound/open-executor.ts";
import type { Settings } from "../settings/table.ts";
import { bad, type Check, good, warning } from "./check.ts";
import { nearestExisting } from "./file-system-check.ts";

/** @param isRunning Whether a server runs here: then what is owed is on its way. */
export async function checkJournal(
  settings: Settings,
  data: DataDirectory,
  isRunning: boolean,
): Promise<Check[]> {
  const folder = journalFolderOf(settings);
  const isUsed = settings.commit === "journal";
  const room = isUsed && !isRunning ? checkRoom(settings, folder) : [];
  if (!existsSync(folder)) {
    const made = isUsed ? [good("Journal", `${folder}, to be created`)] : [];
    return [...made, ...room, ...(await checkStaging(data, undefined))];
  }
  try {
    const found = await lookAtJournal({ settings, data });
    const { id, starts, segments, damage } = found!;
    const live = segments.filter(({ state }) => state === "live").length;
    return [
      good(
        "Journal",
        `${folder}, opened ${starts} times; ${segments.length} segments of ${inMiB(segments)}, ${live} in use`,
      ),
      ...room,
      ...owedMail(found!, isRunning, isUsed),
      ...damage.map((text) => bad("Journal damage", text, adviceOnDamage)),
      ...(await checkStaging(data, id)),
    ];
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // A segment that is used again while it is read looks damaged.
    if (isRunning && error.code === "ERR_APP_JOURNAL")
      return [good("Journal", `${folder}, in use`)];
    return [
      bad(
        "Journal",
        error.message,
        "Nothing in it was touched; see docs/guides/something-is-wrong.md.",
      ),
    ];
  }
}

const adviceOnDamage =
  "Stop the server and copy the folder; then `postbag recover` publishes what is whole, and `postbag recover --accept-damage` puts the damaged segments aside.";

function owedMail(found: JournalInspection, isRunning: boolean, isUsed: boolean): Check[] {
  const name = "Owed mail";
  if (found.volumes.length === 0) return [good(name, "none: all mail is in its mailboxes")];
  return found.volumes.map((volume) => {
    const what = owedBy(volume);
    if (!volume.isRecognised) {
      return bad(
        name,
        `${what}; the file system there is missing, or not the one the journal means`,
        "Mount it, or bring back the right one. The mail stays in the journal until then.",
      );
    }
    if (isRunning) return good(name, `${what}; the server that runs here is at it`);
    const advice = isUsed
      ? "The next start of the server publishes it, and so does: postbag recover"
      : "Publish it with: postbag recover";
    return warning(name, what, advice);
  });
}

/** Says in words what recovery would do. */
export function owedBy(volume: InspectedVolume): string {
  const { toRestore, toFinish, toSkip, toKeep, owedBytes, mailboxes, directory } = volume;
  const owed = toRestore + toFinish + toKeep;
  const parts = [
    [toRestore, "to be restored from the journal"],
    [toFinish, "staged and to be published"],
    [toKeep, "kept for its file system"],
    [toSkip, "published already"],
  ] as const;
  const told = parts.flatMap(([count, text]) => (count > 0 ? [`${count} ${text}`] : []));
  return `${owed} messages (${owedBytes} bytes) for ${mailboxes.length} mailboxes below ${directory}: ${told.join(", ")}`;
}

/** Whether the segments that are still to be made have room. */
function checkRoom(settings: Settings, folder: string): Check[] {
  const { journalSegments, journalSegmentBytes } = settings;
  const { bavail, bsize } = statfsSync(nearestExisting(folder));
  const there = existsSync(folder) ? segmentsIn(folder) : 0;
  const wanted = Math.max(0, journalSegments - there) * journalSegmentBytes;
  const free = bavail * bsize;
  const found = `${Math.floor(free / 2 ** 20)} MiB free, ${Math.ceil(wanted / 2 ** 20)} MiB may be wanted for segments`;
  if (free >= wanted) return [good("Room for the journal", found)];
  const advice = "Free some space, or lower --journal-segments or --journal-segment-bytes.";
  return [warning("Room for the journal", found, advice)];
}

/** What lies in staging: of this journal and of others. */
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
      const what = `${setAside.files} files in ${setAside.path} may be mail that a damaged journal spoke of`;
      checks.push(warning("Set aside", what, "Look at them, then delete them."));
    }
    if (journalId !== id) {
      checks.push(
        warning(
          "Another journal",
          `${path} belongs to a journal that is not the one in use`,
          "If that journal still exists: postbag recover --journal ITS_FOLDER. Else delete what is left here.",
        ),
      );
    }
    return checks;
  });
}

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function segmentsIn(folder: string): number {
  return filesIn(folder).filter((name) => /^segment-\d+$/.test(name)).length;
}

function inMiB(segments: JournalInspection["segments"]): string {
  const sizes = new Set(segments.map(({ bytes }) => `${bytes / 2 ** 20} MiB`));
  return [...sizes].join(" and ") || "0 MiB";
}
