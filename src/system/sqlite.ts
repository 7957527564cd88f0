/**
 * Opens SQLite databases with Node's own driver, and refuses a Node that is too old for Postbag.
 *
 * The driver is not imported: on a Node without it an import of `node:sqlite` fails before any
 * code runs, and the error names a module instead of the Node that is needed.
 */
import type { DatabaseSync, DatabaseSyncOptions } from "node:sqlite";
import { SystemError } from "./errors.ts";

const minNode = 24;

const sqlite = load();

function load(): typeof import("node:sqlite") {
  if (Number.parseInt(process.versions.node, 10) < minNode) {
    throw new SystemError(
      "ERR_SYSTEM_NODE_VERSION",
      `Postbag needs Node ${minNode} or newer; this is ${process.versions.node}.`,
    );
  }
  return process.getBuiltinModule("node:sqlite");
}

/** Opens a database file, which is created if missing. */
export function openSqlite(file: string, options: DatabaseSyncOptions): DatabaseSync {
  return new sqlite.DatabaseSync(file, options);
}
