/**
 * A lock between processes that vanishes with its holder, even by kill -9.
 *
 * It is an SQLite database held by BEGIN EXCLUSIVE. SQLite holds it by fcntl(2) locks, which the
 * kernel drops the instant the process ends; within one process it keeps its own account. Nothing
 * else may open the file: closing any descriptor of it drops the process's fcntl locks on it
 * (https://sqlite.org/howtocorrupt.html §2.2).
 */
import type { DatabaseSync } from "node:sqlite";
import { openSqlite } from "./sqlite.ts";

const SQLITE_BUSY = 5;

/**
 * Takes the lock of a file, which is made if missing.
 *
 * @returns What gives the lock back; idempotent.
 * @throws an error with code `EAGAIN` while it is held, else the error of SQLite.
 */
export function lockFile(path: string): () => void {
  let database: DatabaseSync | undefined;
  try {
    database = openSqlite(path, { timeout: 0 });
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (cause) {
    database?.close();
    if ((cause as { errcode?: number }).errcode !== SQLITE_BUSY) throw cause;
    const error = new Error(`EAGAIN: held by another process, lock '${path}'`, { cause });
    throw Object.assign(error, { code: "EAGAIN", syscall: "lock", path });
  }
  const held = database;
  return () => {
    if (held.isOpen) held.close();
  };
}
