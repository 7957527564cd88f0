/** Opens the store in PostgreSQL: checks its options, makes the pool and migrates the tables. */
import { refusal, wholeNumber } from "../model/checks.ts";
import { OutboxError } from "../model/errors.ts";
import type { OutboxStore } from "../model/store.ts";
import { Database, KEEP_PLANS, type PostgresPool } from "./database.ts";
import { defaultBatch, defaultBatchBytes, type PostgresStoreOptions } from "./options.ts";
import { PostgresStore } from "./store.ts";

/**
 * Opens the store, and creates or migrates its tables. Needs the package `pg`.
 *
 * @throws {OutboxError} ERR_OUTBOX_OPTION, ERR_OUTBOX_STORE when the server cannot be reached,
 *   ERR_OUTBOX_SCHEMA_VERSION when a newer program made the tables.
 */
export async function openPostgresStore(options: PostgresStoreOptions): Promise<OutboxStore> {
  const { schema = "postbag", timeoutMs = 30_000, prepare = true, maxConnections = 10 } = options;
  const connections = options.pool?.options?.max ?? maxConnections;
  if (typeof schema !== "string" || !/^[^\0]{1,40}$/.test(schema)) {
    throw refusal("schema", "a name of 1 to 40 characters", schema);
  }
  wholeNumber("timeoutMs", timeoutMs);
  wholeNumber(options.pool ? "pool.options.max" : "maxConnections", connections, 2);
  wholeNumber("maxBatch", options.maxBatch ?? defaultBatch);
  wholeNumber("maxBatchBytes", options.maxBatchBytes ?? defaultBatchBytes);
  const pool = await poolOf(options, connections, timeoutMs);
  const ownsPool = options.pool === undefined;
  const db = new Database({ pool, ownsPool, schema, timeoutMs, prepare });
  const store = new PostgresStore(db, { ...options, schema, connections });
  try {
    await db.open();
    if (options.migrate ?? true) await store.migrate();
    await store.checkVersion();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function poolOf(
  { pool, connectionString, prepare = true }: PostgresStoreOptions,
  max: number,
  timeoutMs: number,
): Promise<PostgresPool> {
  if ((pool === undefined) === (connectionString === undefined)) {
    throw new OutboxError("ERR_OUTBOX_OPTION", "give either connectionString or pool");
  }
  if (pool !== undefined) return pool;
  const pg = await import("pg").catch((cause) => {
    const text = "PostgreSQL needs the package pg: npm install pg";
    throw new OutboxError("ERR_OUTBOX_OPTION", text, { cause });
  });
  return new pg.default.Pool({
    connectionString,
    max,
    connectionTimeoutMillis: timeoutMs,
    keepAlive: true,
    application_name: "postbag",
    ...(prepare && { options: KEEP_PLANS }),
  });
}
