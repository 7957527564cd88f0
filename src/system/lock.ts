/**
 * A lock between processes that ends with its process, also by kill -9.
 *
 * It is an SQLite database in BEGIN EXCLUSIVE. SQLite locks it by fcntl(2) locks, which the
 * kernel drops the instant the process ends; inside one process SQLite counts by itself. No other
 * code may open the file: closing any descriptor of it drops the process's fcntl locks on it
 * (https://sqlite.org/howtocorrupt.html §2.2).
 */
import type { DatabaseSync } from "node:sqlite";
import { openSqlite } from "./sqlite.ts";

const sqliteBusy = 5;

/**
 * Takes the lock of a file, which is created if missing.
 *
 * @returns A function that releases the lock; idempotent.
 * @throws an error with code `EAGAIN` while it is locked, else the error of SQLite.
 */
export function lockFile(path: string): () => void {
  let database: DatabaseSync | undefined;
  try {
    database = openSqlite(path, { timeout: 0 });
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (cause) {
    database?.close();
    if ((cause as { errcode?: number }).errcode !== sqliteBusy) throw cause;
    const error = new Error(`EAGAIN: locked by another process, lock '${path}'`, { cause });
    throw Object.assign(error, { code: "EAGAIN", syscall: "lock", path });
  }
  const locked = database;
  return () => {
    if (locked.isOpen) locked.close();
  };
}
