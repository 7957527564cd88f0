/**
 * Recovery without a server: publishes what a journal owes, or says what that would be.
 *
 * It takes the same locks as the server, so that the two never work on one journal; a dry run takes none
 * and touches nothing.
 */
import { existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import type { JournalInspection, RecoveryReport } from "../../delivery/index.ts";
import { nodeFileSystem } from "../../system/index.ts";
import {
  type DataDirectory,
  dataDirectoryAt,
  holderOfLock,
  inUse,
  journalFolderOf,
  lockDataDirectory,
} from "../data-directory.ts";
import { owedBy } from "../doctor/journal-checks.ts";
import { AppError } from "../errors.ts";
import { lookAtJournal, settleJournal } from "../inbound/open-executor.ts";
import type { Settings } from "../settings/table.ts";

export interface RecoverOptions {
  readonly settings: Settings;
  /** Only says what would be done. */
  readonly isDryRun: boolean;
  /** Afterwards puts the segments of a damaged journal aside, so that a new one is begun. */
  readonly acceptDamage: boolean;
}

export interface RecoverResult {
  /** What was done, or would be, and what is left, in plain words. */
  readonly lines: readonly string[];
  /** `owing`: not everything could be published now. `damaged`: not all of the journal can be read. */
  readonly state: "settled" | "owing" | "damaged";
}

/**
 * Recovers the journal of the settings, whichever commit they ask for.
 *
 * @throws {AppError} `ERR_APP_DATA_IN_USE` beside a running server; as `openExecutor` does; and
 *   `ERR_APP_JOURNAL_NOT_NOW` when damage shall be accepted while mail is still owed.
 */
export async function recoverJournal(options: RecoverOptions): Promise<RecoverResult> {
  const { settings, isDryRun } = options;
  const data = dataDirectoryAt(settings.data);
  const journal = journalFolderOf(settings);
  if (!existsSync(data.path) || !existsSync(journal)) {
    return { lines: [`There is no journal in ${journal}: nothing to recover.`], state: "settled" };
  }
  if (isDryRun) return plan(settings, data, journal);
  const unlock = lockDataDirectory(data.path);
  try {
    return await settle(options, data, journal);
  } finally {
    unlock();
  }
}

async function plan(settings: Settings, data: DataDirectory, journal: string) {
  if (holderOfLock(data.path) !== undefined) throw inUse(data.path, undefined);
  const found = await lookAtJournal({ settings, data });
  const lines = found?.volumes.map((volume) => `Owed: ${owedBy(volume)}.`) ?? [];
  const isLost = found?.volumes.some(({ isRecognised }) => !isRecognised) ?? false;
  return told([...(lines.length > 0 ? lines : [owesNothing(journal)])], found, isLost);
}

async function settle(
  { settings, acceptDamage }: RecoverOptions,
  data: DataDirectory,
  journal: string,
): Promise<RecoverResult> {
  let report: RecoveryReport | undefined;
  const reasons = new Set<string>();
  const left = await settleJournal({
    settings,
    data,
    onEvent: (event) => {
      if (event.kind === "recovered") {
        report = event.report;
        for (const { reason } of report.unavailable) reasons.add(reason);
      }
      if (event.kind === "publishing" && event.reason !== undefined) reasons.add(event.reason);
      if (event.kind === "orphaned") {
        reasons.add(`${event.ids.length} messages are kept in ${event.orphans}: ${event.reason}`);
      }
    },
  });
  const lines = [
    report ? whatWasDone(report) : owesNothing(journal),
    ...reasons,
    ...(left?.volumes.map((volume) => `Still owed: ${owedBy(volume)}.`) ?? []),
  ];
  if (!acceptDamage || left === undefined || left.damage.length === 0) {
    return told(lines, left, (left?.volumes.length ?? 0) > 0);
  }
  if (left.volumes.length > 0) {
    throw new AppError(
      "ERR_APP_JOURNAL_NOT_NOW",
      `The damage was not accepted, because the journal still owes mail: ${left.volumes.map(owedBy).join("; ")}`,
    );
  }
  const aside = await setSegmentsAside(journal);
  const next = `The segments were moved to ${aside}; the next start begins a new journal.`;
  return { lines: [...lines, ...left.damage, next], state: "settled" };
}

function told(
  lines: readonly string[],
  found: JournalInspection | undefined,
  isOwing: boolean,
): RecoverResult {
  const damage = found?.damage ?? [];
  const state = isOwing ? "owing" : damage.length > 0 ? "damaged" : "settled";
  return { lines: [...lines, ...damage.map((text) => `Damage: ${text}.`)], state };
}

function whatWasDone({ restored, finished, skipped }: RecoveryReport): string {
  return `Recovered: ${restored} messages restored from the journal, ${finished} finished, ${skipped} were published already.`;
}

function owesNothing(journal: string): string {
  return `The journal in ${journal} owes nothing: all its mail is in the mailboxes.`;
}

/** Nothing is deleted; on return the move survives a power cut. */
async function setSegmentsAside(journal: string): Promise<string> {
  const unlock = nodeFileSystem.lock(join(journal, "lock"));
  try {
    const stamp = new Date().toISOString().replace(/[-:]|\..*/g, "");
    const aside = join(journal, `damaged-${stamp}`);
    mkdirSync(aside, { mode: 0o700 });
    for (const name of readdirSync(journal)) {
      if (/^segment-\d+$/.test(name)) renameSync(join(journal, name), join(aside, name));
    }
    for (const folder of [aside, journal]) {
      const directory = nodeFileSystem.openDirectory(folder);
      await nodeFileSystem.sync(directory).finally(() => nodeFileSystem.close(directory));
    }
    return aside;
  } finally {
    unlock();
  }
}
