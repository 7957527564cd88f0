/** What the store in PostgreSQL may be given, and what it takes where it is given nothing. */
import type { Clock } from "../../system/index.ts";
import type { PostgresPool } from "./database.ts";

export const MAX_BATCH = 500;
export const MAX_BATCH_BYTES = 16 * 1024 * 1024;

export interface PostgresStoreOptions {
  /** Where the server is, as `postgres://user:password@host/database`; the store makes its own pool. */
  readonly connectionString?: string;
  /**
   * A `Pool` of pg instead, of at least two connections; it stays open when the store closes. If its
   * connections do nothing else, give it {@link KEEP_PLANS} as `options`: small batches cost half.
   */
  readonly pool?: PostgresPool & { readonly options?: { readonly max?: number } };
  /** The schema that holds the tables; made if it is not there. @defaultValue "postbag" */
  readonly schema?: string;
  /** Most connections of the store's own pool. @defaultValue 10 */
  readonly maxConnections?: number;
  /**
   * Whether other processes are told at once of new mail, by NOTIFY; without, they find it when they
   * poll. Costs a connection to listen on, and a statement every 100 ms. @defaultValue false
   */
  readonly notify?: boolean;
  /**
   * Longest wait for a connection, and for the answer to a statement, in milliseconds; a write that has
   * no answer by then is in doubt. @defaultValue 30000
   */
  readonly timeoutMs?: number;
  /** Whether to use prepared statements; off for a pooler that does not know them. @defaultValue true */
  readonly prepare?: boolean;
  /** Most calls in one statement. @defaultValue 500 */
  readonly maxBatch?: number;
  /** Most octets of messages in one statement; a larger message goes alone. @defaultValue 16 MiB */
  readonly maxBatchBytes?: number;
  /** Whether to bring the schema up to date when opening. @defaultValue true */
  readonly migrate?: boolean;
  /** For timers only: the instants are those of the server. @defaultValue the machine's */
  readonly clock?: Clock;
}
