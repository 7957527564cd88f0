/** Makes or updates the tables of the outbox, for people who want to see to that themselves. */
import { postgresMigrationSql, sqliteMigrationSql } from "../../outbox/index.ts";
import { prepareDataDirectory } from "../data-directory.ts";
import { openStore, storeAddressOf } from "../outbound/open-outbox.ts";
import type { Settings } from "../settings/table.ts";

/** Brings the tables up to date; says what was done. @throws {AppError} as `openStore` does. */
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

/** The statements that make the tables from nothing, in the database's own SQL. Connects nowhere. */
export async function outboxMigrationSql(settings: Settings): Promise<string> {
  const { kind } = storeAddressOf(settings);
  return kind === "sqlite" ? sqliteMigrationSql() : postgresMigrationSql();
}
