/**
 * `postbag recover`: publishes the mail of the journal without a server, or only reports the mail
 * that is unpublished (durable in the journal, not yet in a mailbox). Called by `cli/recover.ts`.
 *
 * Recovery takes the locks that the server takes, so that only one of them uses a journal at a
 * time. A dry run takes no lock and changes nothing.
 */
import { existsSync } from "node:fs";
import type { DeliveryEvent, JournalInspection, RecoveryReport } from "../../delivery/index.ts";
import { setSegmentsAside } from "../../journal/index.ts";
import {
  type DataDirectory,
  dataDirectoryAt,
  holderOfLock,
  inUse,
  journalFolderOf,
  lockDataDirectory,
} from "../data-directory.ts";
import { describeUnpublished } from "../doctor/journal-checks.ts";
import { AppError } from "../errors.ts";
import { inspectJournalOf, publishJournal } from "../inbound/open-executor.ts";
import type { Settings } from "../settings/table.ts";

export interface RecoverOptions {
  readonly settings: Settings;
  /** Whether to only report the unpublished mail, and change nothing. */
  readonly isDryRun: boolean;
  /**
   * Whether to move the segments of a damaged journal aside when all readable mail is published, so
   * that the next start of the server begins a new journal.
   */
  readonly acceptDamage: boolean;
}

export interface RecoverResult {
  /** For a person: what was recovered (in a dry run: would be), then the mail still unpublished. */
  readonly lines: readonly string[];
  /**
   * `unpublished`: a volume (the file system of some mailboxes) is missing or not writable now.
   * `damaged`: part of the journal is unreadable; the mail in its other parts can be published.
   */
  readonly state: "done" | "unpublished" | "damaged";
}

/**
 * Recovers the journal in the folder of the settings, also with `--commit synced`.
 *
 * @throws {AppError} `ERR_APP_DATA_IN_USE` while a server runs on the data directory; the errors of
 *   `openExecutor`; `ERR_APP_JOURNAL_NOT_NOW` for `acceptDamage` while mail is unpublished.
 */
export async function recoverJournal(options: RecoverOptions): Promise<RecoverResult> {
  const { settings, isDryRun } = options;
  const data = dataDirectoryAt(settings.data);
  const journal = journalFolderOf(settings);
  if (!existsSync(data.path) || !existsSync(journal)) {
    return { lines: [`There is no journal in ${journal}: nothing to recover.`], state: "done" };
  }
  if (isDryRun) return dryRun(settings, data, journal);
  const unlock = lockDataDirectory(data.path);
  try {
    return await recover(options, data, journal);
  } finally {
    unlock();
  }
}

async function dryRun(settings: Settings, data: DataDirectory, journal: string) {
  if (holderOfLock(data.path) !== undefined) throw inUse(data.path, undefined);
  const found = await inspectJournalOf({ settings, data });
  const volumes = found?.volumes ?? [];
  const lines = volumes.map((volume) => `Unpublished: ${describeUnpublished(volume)}.`);
  const isMissing = volumes.some(({ isRecognised }) => !isRecognised);
  return resultOf(lines.length > 0 ? lines : [nothingUnpublished(journal)], found, isMissing);
}

async function recover(
  { settings, acceptDamage }: RecoverOptions,
  data: DataDirectory,
  journal: string,
): Promise<RecoverResult> {
  let report: RecoveryReport | undefined;
  const reasons = new Set<string>();
  const left = await publishJournal({
    settings,
    data,
    onEvent: (event) => {
      if (event.kind === "recovered") report = event.report;
      for (const reason of reasonsIn(event)) reasons.add(reason);
    },
  });
  const volumes = left?.volumes ?? [];
  const lines = [
    report ? describeRecovery(report) : nothingUnpublished(journal),
    ...reasons,
    ...volumes.map((volume) => `Still unpublished: ${describeUnpublished(volume)}.`),
  ];
  if (!acceptDamage || left === undefined || left.damage.length === 0) {
    return resultOf(lines, left, volumes.length > 0);
  }
  if (volumes.length > 0) {
    throw new AppError(
      "ERR_APP_JOURNAL_NOT_NOW",
      `The damage was not accepted, because the journal has unpublished mail: ${volumes.map(describeUnpublished).join("; ")}`,
    );
  }
  const aside = await setSegmentsAside(journal);
  const next = `The segments were moved to ${aside}; the next start begins a new journal.`;
  return { lines: [...lines, ...left.damage, next], state: "done" };
}

/** Why mail was not published, as an event reports it. */
function reasonsIn(event: DeliveryEvent): readonly string[] {
  switch (event.kind) {
    case "recovered":
      return event.report.unavailable.map(({ reason }) => reason);
    case "publishing":
      return event.reason === undefined ? [] : [event.reason];
    case "orphaned":
      return [`${event.ids.length} messages were moved to ${event.orphans}: ${event.reason}`];
    default:
      return [];
  }
}

function resultOf(
  lines: readonly string[],
  found: JournalInspection | undefined,
  isUnpublished: boolean,
): RecoverResult {
  const damage = found?.damage ?? [];
  const state = isUnpublished ? "unpublished" : damage.length > 0 ? "damaged" : "done";
  return { lines: [...lines, ...damage.map((text) => `Damage: ${text}.`)], state };
}

function describeRecovery({ restored, finished, skipped }: RecoveryReport): string {
  return `Recovered: ${restored} messages restored from the journal, ${finished} finished, ${skipped} published already.`;
}

function nothingUnpublished(journal: string): string {
  return `The journal in ${journal} has no unpublished mail: all of it is in the mailboxes.`;
}
