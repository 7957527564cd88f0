/**
 * The data directory: its folders, and the lock that excludes a second server.
 *
 * The kernel drops the lock the instant the process ends, however it ends, so no stale lock
 * has to be removed by hand; the file `lock` itself stays. No other code of this process may open
 * `lock`, because closing it there would drop the lock; see `system/lock.ts`.
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
import { errnoOf, nodeFileSystem } from "../system/index.ts";
import { AppError, messageOf } from "./errors.ts";
import type { Settings } from "./settings/table.ts";

export interface DataDirectory {
  readonly path: string;
  /** All mailboxes: `<domain>/<local part>/`. */
  readonly mail: string;
  /** Messages too large for memory while they arrive; the server empties it at its start. */
  readonly spool: string;
  /** Mail for other domains that is captured and not sent; created with the first such mail. */
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

/** The folder of the journal, which need not exist: `--commit synced` uses no journal. */
export function journalFolderOf({ data, journal }: Pick<Settings, "data" | "journal">): string {
  return journal ?? join(data, "journal");
}

/**
 * Creates the data directory, `mail/` and `spool/` where missing, open to their owner only. On
 * return `mail/` and the directories above it are durable.
 *
 * @throws {AppError} `ERR_APP_DATA_DIRECTORY`
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
 * Syncs a folder and every directory above it on the same file system, also those that an earlier
 * process created: that process may have been killed before its own sync. A directory that this
 * user may not open is left out, because this user did not create it.
 */
function syncUpwards(folder: string): void {
  const { dev } = statSync(folder);
  for (let path = folder; ; path = dirname(path)) {
    if (statSync(path).dev !== dev) return;
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
 * Locks the data directory for this process.
 *
 * @returns A function that releases the lock; the end of the process also releases it.
 * @throws {AppError} `ERR_APP_DATA_IN_USE` while another process holds the lock,
 *   `ERR_APP_DATA_DIRECTORY` when the lock file cannot be opened or locked.
 */
export function lockDataDirectory(path: string): () => void {
  try {
    return nodeFileSystem.lock(join(path, "lock"));
  } catch (cause) {
    throw errnoOf(cause) === "EAGAIN" ? inUse(path, cause) : noLock(path, cause);
  }
}

/** The error that names the process which holds the data directory. */
export function inUse(path: string, cause: unknown): AppError {
  const holder = holderOfLock(path);
  const name = holder === undefined ? "Another Postbag" : `Another Postbag (process ${holder})`;
  return new AppError(
    "ERR_APP_DATA_IN_USE",
    `${name} is using ${path}. Stop it first, or give this one its own folder with --data`,
    { cause },
  );
}

function noLock(path: string, cause: unknown): AppError {
  return new AppError(
    "ERR_APP_DATA_DIRECTORY",
    `Cannot lock the data directory ${path} (${messageOf(cause)}). Its owner must be the user who runs Postbag, on a writable local file system`,
    { cause },
  );
}

/**
 * The id of the process that holds the lock, by proc_locks(5); `undefined` without such a process.
 * The kernel lists only locks of this container, so the id of another container's process is not
 * found.
 */
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

/** One line with the reason why a folder cannot be used, and advice. */
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
