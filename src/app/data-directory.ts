/**
 * The data directory: its folders, and the lock that keeps a second server out.
 *
 * The lock is an SQLite database held by BEGIN EXCLUSIVE. SQLite holds it by fcntl(2) locks, which the
 * kernel drops the instant the process ends, however it ends; there is no stale lock file to remove by
 * hand. Nothing else in the process may open `lock`: closing any descriptor of a file drops the
 * process's fcntl locks on it (https://sqlite.org/howtocorrupt.html §2.2).
 */
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { AppError, errnoOf } from "./errors.ts";
import type { Settings } from "./settings/table.ts";

export interface DataDirectory {
  readonly path: string;
  /** Holds all mailboxes: `<domain>/<local part>/`. */
  readonly mail: string;
  /** Holds messages too large for memory while they arrive; emptied at start. */
  readonly spool: string;
  /** Holds mail for other domains that is kept and not sent; made with the first of it. */
  readonly captured: string;
}

export function dataDirectoryAt(path: string): DataDirectory {
  return {
    path,
    mail: join(path, "mail"),
    spool: join(path, "spool"),
    captured: join(path, "captured"),
  };
}

/** Where the journal lies, whether or not it is used. */
export function journalFolderOf({ data, journal }: Pick<Settings, "data" | "journal">): string {
  return journal ?? join(data, "journal");
}

/**
 * Makes the folders where they are missing; only their owner can enter them. On return the path down
 * to the mail root survives a power cut.
 */
export function prepareDataDirectory(path: string): DataDirectory {
  const directory = dataDirectoryAt(path);
  for (const folder of [directory.path, directory.mail, directory.spool]) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw new AppError("ERR_APP_DATA_DIRECTORY", whyNoFolder(folder, cause), { cause });
    }
  }
  syncUpwards(directory.mail);
  return directory;
}

/**
 * Flushes the names on the way to a folder, whether or not this process made them: whoever did may have
 * been killed before its own flush. What this user may not open, this user did not make.
 */
function syncUpwards(folder: string): void {
  const { dev: device } = statSync(folder);
  for (let path = folder; ; path = dirname(path)) {
    if (statSync(path).dev !== device) return;
    try {
      const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    } catch (cause) {
      if (errnoOf(cause) !== "EACCES") {
        throw new AppError("ERR_APP_DATA_DIRECTORY", whyNoFolder(path, cause), { cause });
      }
    }
    if (path === dirname(path)) return;
  }
}

/**
 * Takes the data directory for this process alone.
 *
 * @returns A function that gives it back; the end of the process does the same.
 * @throws {AppError} `ERR_APP_DATA_IN_USE` while another process holds it.
 */
export function lockDataDirectory(path: string): () => void {
  const file = join(path, "lock");
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { timeout: 0 });
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (cause) {
    database?.close();
    throw isBusy(cause) ? inUse(path, cause) : noLock(path, cause);
  }
  const held = database;
  return () => {
    if (held.isOpen) held.close();
  };
}

const SQLITE_BUSY = 5;

function isBusy(cause: unknown): boolean {
  return (cause as { errcode?: number }).errcode === SQLITE_BUSY;
}

/** Says who holds the data directory. */
export function inUse(path: string, cause: unknown): AppError {
  const holder = holderOfLock(path);
  const who = holder === undefined ? "Another Postbag" : `Another Postbag (process ${holder})`;
  return new AppError(
    "ERR_APP_DATA_IN_USE",
    `${who} is using ${path}. Stop it first, or give this one its own folder with --data`,
    { cause },
  );
}

function noLock(path: string, cause: unknown): AppError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new AppError(
    "ERR_APP_DATA_DIRECTORY",
    `Cannot lock the data directory ${path} (${why}). Its owner must be the user who runs Postbag, on a writable local file system`,
    { cause },
  );
}

/** The process that holds the lock, by proc_locks(5), which sees no further than this container. */
export function holderOfLock(path: string): number | undefined {
  try {
    const inode = statSync(join(path, "lock")).ino;
    const lines = readFileSync("/proc/locks", "utf8").split("\n");
    const fields = lines.map((line) => line.trim().split(/\s+/));
    const line = fields.find((words) => words[5]?.endsWith(`:${inode}`) && words[3] === "WRITE");
    const holder = Number(line?.[4]);
    return holder > 0 ? holder : undefined;
  } catch {
    return undefined;
  }
}

/** One line on why a folder cannot be used, and what to do. */
export function whyNoFolder(folder: string, cause: unknown): string {
  const errno = errnoOf(cause) ?? String(cause);
  const advice: Record<string, string> = {
    EEXIST: "there is something else in its place. Move that away, or choose another folder",
    ENOTDIR: "a file is in its way. Move that away, or choose another folder",
    EACCES: "this user may not write there. Change the owner, or choose another folder",
    EPERM: "this user may not write there. Change the owner, or choose another folder",
    EIO: "the disk fails. Check it, or choose another folder",
    EROFS: "the file system is read-only. Remount it, or choose another folder",
    ENOSPC: "the file system is full. Free some space, or choose another folder",
  };
  return `Cannot use ${folder} as a folder (${errno}): ${advice[errno] ?? "choose another folder"} with --data`;
}
