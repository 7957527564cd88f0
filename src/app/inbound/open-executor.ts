/**
 * Opens the delivery executor with the commit mode of the settings, and turns its errors into
 * errors for the user. Called by the engine, `postbag recover` and `doctor`.
 *
 * A journal of an earlier run may have acknowledged mail that is in no mailbox yet. With
 * `--commit synced` that mail is published first; if that fails, the executor does not open.
 */
import { existsSync } from "node:fs";
import {
  DeliveryError,
  DeliveryExecutor,
  type DeliveryExecutorOptions,
  inspectJournal,
  type JournalInspection,
} from "../../delivery/index.ts";
import { JournalError, type JournalErrorCode } from "../../journal/index.ts";
import { type DataDirectory, journalFolderOf } from "../data-directory.ts";
import { AppError } from "../errors.ts";
import type { Settings } from "../settings/table.ts";

export interface OpenExecutorOptions {
  readonly settings: Settings;
  readonly data: DataDirectory;
  readonly onEvent: NonNullable<DeliveryExecutorOptions["onEvent"]>;
}

/**
 * Opens the executor. With a journal, mail of an earlier process has been recovered on return.
 *
 * @throws {AppError} `ERR_APP_DATA_IN_USE`, `_JOURNAL`, `_JOURNAL_NOT_NOW`, `_SETTING_INVALID`,
 *   `_DATA_DIRECTORY`; only the cause of `_JOURNAL_NOT_NOW` may pass by itself.
 */
export async function openExecutor(options: OpenExecutorOptions): Promise<DeliveryExecutor> {
  const { settings } = options;
  if (settings.commit === "journal") return openJournal(options);
  const left = await publishJournal(options);
  if (left && left.volumes.length > 0) {
    throw new AppError(
      "ERR_APP_JOURNAL_NOT_NOW",
      `The journal in ${journalFolderOf(settings)} has unpublished mail for ${directoriesOf(left)}, which must be published before --commit synced`,
    );
  }
  return DeliveryExecutor.open({ ...executorOptions(options), commit: "synced" });
}

/**
 * Publishes the mail of the journal on all volumes that are available, and closes the journal.
 *
 * @returns The journal with the mail that could not be published; `undefined` without a journal.
 * @throws {AppError} as {@link openExecutor} does.
 */
export async function publishJournal(
  options: OpenExecutorOptions,
): Promise<JournalInspection | undefined> {
  const before = await inspectJournalOf(options);
  if (before === undefined || before.volumes.length === 0) return before;
  const executor = await openJournal(options);
  await executor.close();
  return inspectJournalOf(options);
}

/**
 * Reads the journal and changes nothing; `undefined` without a journal.
 *
 * @throws {AppError} when the journal cannot be read or has an unknown version.
 */
export async function inspectJournalOf({
  settings,
  data,
}: Pick<OpenExecutorOptions, "settings" | "data">): Promise<JournalInspection | undefined> {
  const journal = journalFolderOf(settings);
  if (!existsSync(journal)) return undefined;
  try {
    return await inspectJournal({ journal, mailRoot: data.mail });
  } catch (cause) {
    throw explained(cause, journal);
  }
}

async function openJournal(options: OpenExecutorOptions): Promise<DeliveryExecutor> {
  const { settings } = options;
  const journal = journalFolderOf(settings);
  const { journalSegmentBytes: segmentBytes, journalSegments: maxSegments } = settings;
  const commit = { journal, segmentBytes, maxSegments };
  try {
    return await DeliveryExecutor.open({ ...executorOptions(options), commit });
  } catch (cause) {
    throw explained(cause, journal);
  }
}

function executorOptions({
  settings,
  data,
  onEvent,
}: OpenExecutorOptions): DeliveryExecutorOptions {
  return {
    mailRoot: data.mail,
    maxBatch: settings.maxBatch,
    maxWaitMs: settings.maxWaitMs,
    maxConcurrentFlushes: settings.maxConcurrentFlushes,
    maxPendingBytes: settings.maxPendingBytes,
    publishWithinMs: settings.publishWithinMs,
    maxBacklogBytes: settings.maxBacklogBytes,
    maxPending: settings.maxPending,
    onEvent,
  };
}

function directoriesOf({ volumes }: JournalInspection): string {
  return volumes.map(({ directory }) => directory).join(", ");
}

/** Errors of a wrongly chosen folder, which do not pass by themselves. */
const misplaced = ["EACCES", "EPERM", "ENOTDIR", "EEXIST", "ELOOP", "ENAMETOOLONG"];

/** Turns an error of the journal into an {@link AppError}; returns any other error unchanged. */
function explained(cause: unknown, journal: string): unknown {
  const code = journalCodeOf(cause);
  if (code === undefined) return cause;
  const { message, errno } = cause as JournalError | DeliveryError;
  const text = capitalised(message);
  switch (code) {
    case "ERR_JOURNAL_LOCKED":
      return new AppError(
        "ERR_APP_DATA_IN_USE",
        `Another Postbag is using the journal in ${journal}. Stop it first, or give this one its own folder with --journal`,
        { cause },
      );
    case "ERR_JOURNAL_OPTION":
      return new AppError("ERR_APP_SETTING_INVALID", `The journal refused an option: ${message}`, {
        cause,
      });
    case "ERR_JOURNAL_OPEN_FAILED": {
      if (!misplaced.includes(errno ?? "")) {
        return new AppError("ERR_APP_JOURNAL_NOT_NOW", text, { cause });
      }
      const advice = "Check its owner, or choose another folder with --journal";
      return new AppError("ERR_APP_DATA_DIRECTORY", `${text}. ${advice}`, { cause });
    }
    default:
      return new AppError("ERR_APP_JOURNAL", text, { cause });
  }
}

function journalCodeOf(error: unknown): JournalErrorCode | "unknown" | undefined {
  if (error instanceof JournalError) return error.code;
  if (!(error instanceof DeliveryError) || error.code !== "ERR_DELIVERY_JOURNAL") return undefined;
  return error.journalCode ?? "unknown";
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
