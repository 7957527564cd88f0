/**
 * The work of `postbag outbox`: opens an existing outbox for one use, and creates or updates the
 * tables of an outbox. Called by `cli/outbox.ts`, which has the subcommands.
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
 * Opens the outbox, which must exist, calls `use` with it, and closes the outbox afterwards.
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
 * Creates or updates the tables, and returns a sentence with their version.
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
 * Returns the SQL statements that create the tables in an empty database of the kind in the
 * settings; no connection is made.
 */
export function outboxMigrationSql(settings: Settings): string {
  const { kind } = storeAddressOf(settings);
  return kind === "sqlite" ? sqliteMigrationSql() : postgresMigrationSql();
}
