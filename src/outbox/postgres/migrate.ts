/** Migrates the schema, one process at a time; checks that this program understands its version. */
import { checkSchemaVersion } from "../model/stored-rows.ts";
import type { Database, Query } from "./database.ts";
import { MIGRATION_TABLE, newestSchemaVersion, oldestSchemaVersion, stepFrom } from "./schema.ts";

/** Number of the advisory lock; all versions of this program must use this one. */
const LOCK = "select pg_advisory_xact_lock(7305808869)";

/** Runs all missing migrations, each in a transaction that locks out every other one. */
export async function migrate(db: Database): Promise<{ from: number; to: number }> {
  const from = await schemaVersion(db, db.read);
  for (;;) {
    const made = await db.transaction(async (query) => {
      await query(LOCK);
      let version = await schemaVersion(db, query); // Another process may have been faster.
      if (version === 0) await query(MIGRATION_TABLE);
      const step = stepFrom(version);
      if (step !== undefined) {
        await query(step);
        version += 1;
      }
      return { version, done: stepFrom(version) === undefined };
    });
    if (made.done) return { from, to: made.version };
  }
}

/** @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION unless this program understands the schema. */
export async function checkVersion(db: Database): Promise<void> {
  const version = await schemaVersion(db, db.read);
  checkSchemaVersion(version, oldestSchemaVersion, newestSchemaVersion);
}

// Not to_regclass: after a wait for the lock it may answer from before the wait.
const TABLE = `select 1 from pg_catalog.pg_tables
  where schemaname = $1 and tablename = 'outbox_migration'`;

async function schemaVersion({ schema }: Database, query: Query): Promise<number> {
  if ((await query(TABLE, [schema])).length === 0) return 0;
  const [row] = await query("select max(version) as version from postbag.outbox_migration");
  return Number(row?.version ?? 0);
}
