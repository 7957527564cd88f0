/**
 * Opens the executor that the settings ask for, and says in plain words what keeps it from opening.
 *
 * Nothing that a journal has acknowledged may be left behind: whoever turns to `synced` has the journal
 * publish everything first.
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

export interface CommitOptions {
  readonly settings: Settings;
  readonly data: DataDirectory;
  readonly onEvent: NonNullable<DeliveryExecutorOptions["onEvent"]>;
}

/**
 * Opens the executor. With a journal, what an earlier process left has been recovered on return.
 *
 * @throws {AppError} `ERR_APP_DATA_IN_USE`, `_JOURNAL`, `_JOURNAL_NOT_NOW`, `_SETTING_INVALID`,
 *   `_DATA_DIRECTORY`; of these only `_JOURNAL_NOT_NOW` may pass by itself.
 */
export async function openExecutor(options: CommitOptions): Promise<DeliveryExecutor> {
  const { settings } = options;
  if (settings.commit === "journal") return openJournal(options);
  const left = await settleJournal(options);
  if (left && left.volumes.length > 0) {
    throw new AppError(
      "ERR_APP_JOURNAL_NOT_NOW",
      `The journal in ${journalFolderOf(settings)} still owes mail to ${homesOf(left)}, which must be published before --commit synced`,
    );
  }
  return DeliveryExecutor.open({ ...executorOptions(options), commit: "synced" });
}

/**
 * Publishes what the journal owes, as far as that can be done now, and lets go of it.
 *
 * @returns What is still there, or `undefined` when there is no journal.
 * @throws {AppError} as {@link openExecutor} does.
 */
export async function settleJournal(
  options: CommitOptions,
): Promise<JournalInspection | undefined> {
  const before = await lookAtJournal(options);
  if (before === undefined || before.volumes.length === 0) return before;
  const executor = await openJournal(options);
  await executor.close();
  return lookAtJournal(options);
}

/** Reads the journal and touches nothing; `undefined` when there is none. @throws {AppError} */
export async function lookAtJournal({
  settings,
  data,
}: Pick<CommitOptions, "settings" | "data">): Promise<JournalInspection | undefined> {
  const journal = journalFolderOf(settings);
  if (!existsSync(journal)) return undefined;
  try {
    return await inspectJournal({ journal, mailRoot: data.mail });
  } catch (cause) {
    throw explained(cause, journal);
  }
}

async function openJournal(options: CommitOptions): Promise<DeliveryExecutor> {
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

function executorOptions({ settings, data, onEvent }: CommitOptions): DeliveryExecutorOptions {
  return {
    mailRoot: data.mail,
    maxBatch: settings.maxBatch,
    maxWaitMs: settings.maxWaitMs,
    maxConcurrentFlushes: settings.maxConcurrentFlushes,
    maxPendingBytes: settings.maxPendingBytes,
    publishWithinMs: settings.publishWithinMs,
    maxBacklogBytes: settings.maxBacklogBytes,
    ...(settings.maxPending !== undefined && { maxPending: settings.maxPending }),
    onEvent,
  };
}

function homesOf({ volumes }: JournalInspection): string {
  return volumes.map(({ directory }) => directory).join(", ");
}

/** Mistakes of whoever chose the folder: they do not pass. */
const misplaced = ["EACCES", "EPERM", "ENOTDIR", "EEXIST", "ELOOP", "ENAMETOOLONG"];

function explained(cause: unknown, journal: string): unknown {
  const code = codeOf(cause);
  if (code === undefined) return cause;
  const { message, errno } = cause as JournalError | DeliveryError;
  const told = capitalised(message);
  switch (code) {
    case "ERR_JOURNAL_LOCKED":
      return new AppError(
        "ERR_APP_DATA_IN_USE",
        `Another Postbag is using the journal in ${journal}. Stop it first, or give this one its own folder with --journal`,
        { cause },
      );
    case "ERR_JOURNAL_OPTION":
      return new AppError("ERR_APP_SETTING_INVALID", `The journal says: ${message}`, { cause });
    case "ERR_JOURNAL_OPEN_FAILED": {
      if (!misplaced.includes(errno ?? "")) {
        return new AppError("ERR_APP_JOURNAL_NOT_NOW", told, { cause });
      }
      const advice = "Check its owner, or choose another folder with --journal";
      return new AppError("ERR_APP_DATA_DIRECTORY", `${told}. ${advice}`, { cause });
    }
    default:
      return new AppError("ERR_APP_JOURNAL", told, { cause });
  }
}

function codeOf(error: unknown): JournalErrorCode | "unknown" | undefined {
  if (error instanceof JournalError) return error.code;
  if (!(error instanceof DeliveryError) || error.code !== "ERR_DELIVERY_JOURNAL") return undefined;
  return error.journalCode ?? "unknown";
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
