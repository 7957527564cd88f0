/** The options of the store in PostgreSQL, and their defaults. */
import type { Clock } from "../../system/index.ts";
import type { PostgresPool } from "./database.ts";

export const defaultBatch = 500;
export const defaultBatchBytes = 16 * 1024 * 1024;

export interface PostgresStoreOptions {
  /** The server, as `postgres://user:password@host/database`; the store makes its own pool. */
  readonly connectionString?: string | undefined;
  /**
   * A `Pool` of pg in place of `connectionString`, of at least two connections; it stays open when
   * the store closes. If only the store uses the pool, make it with {@link KEEP_PLANS} as
   * `options`: small batches then take half the time.
   */
  readonly pool?:
    | (PostgresPool & { readonly options?: { readonly max?: number | undefined } | undefined })
    | undefined;
  /** The schema of the tables, made if missing; at most 40 characters. @defaultValue "postbag" */
  readonly schema?: string | undefined;
  /** Most connections of the store's own pool. @defaultValue 10 */
  readonly maxConnections?: number | undefined;
  /**
   * Whether to notify other processes of new mail at once, by NOTIFY; otherwise they find it when
   * they poll. Costs a connection that listens, and a statement every 100 ms. @defaultValue false
   */
  readonly notify?: boolean | undefined;
  /**
   * Most milliseconds to wait for a connection, and for the answer to a statement. A write without
   * an answer by then is in doubt. @defaultValue 30000
   */
  readonly timeoutMs?: number | undefined;
  /** Whether to use prepared statements; not every pooler supports them. @defaultValue true */
  readonly prepare?: boolean | undefined;
  /** Most calls in one statement. @defaultValue 500 */
  readonly maxBatch?: number | undefined;
  /** Most bytes of messages in one statement; a larger message goes alone. @defaultValue 16 MiB */
  readonly maxBatchBytes?: number | undefined;
  /** Whether to migrate the schema when opening. @defaultValue true */
  readonly migrate?: boolean | undefined;
  /** For timers only: instants are those of the server. @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
}
