/**
 * The work of `postbag outbox`: opens an existing outbox for one use, and creates or updates its
 * tables.
 */
import { type Outbox, postgresMigrationSql, sqliteMigrationSql } from "../../outbox/index.ts";
import { prepareDataDirectory } from "../data-directory.ts";
import {
  explained,
  openExistingOutbox,
  openStore,
  storeAddressOf,
} from "../outbound/open-outbox.ts";
import type { Settings } from "../settings/table.ts";

/**
 * Opens the outbox, which must exist, for `use` and closes it afterwards.
 *
 * @throws {AppError} as `openExistingOutbox` does, and for every error of the outbox in `use`.
 */
export async function withOutbox<Result>(
  settings: Settings,
  use: (outbox: Outbox) => Promise<Result>,
): Promise<Result> {
  await using outbox = await openExistingOutbox(settings);
  try {
    return await use(outbox);
  } catch (error) {
    throw explained(error);
  }
}

/**
 * Brings the tables up to date and returns a sentence on it.
 *
 * @throws {AppError} as `openStore` does.
 */
export async function migrateOutbox(settings: Settings): Promise<string> {
  const address = storeAddressOf(settings);
  if (address.kind === "sqlite" && settings.store === undefined)
    prepareDataDirectory(settings.data);
  const store = await openStore(settings);
  try {
    const { to } = await store.migrate();
    return `The tables of the outbox are up to date, at version ${to}.`;
  } finally {
    await store.close();
  }
}

/**
 * Returns the statements that make the tables from nothing, in the database's SQL. Connects
 * nowhere.
 */
export function outboxMigrationSql(settings: Settings): string {
  const { kind } = storeAddressOf(settings);
  return kind === "sqlite" ? sqliteMigrationSql() : postgresMigrationSql();
}
