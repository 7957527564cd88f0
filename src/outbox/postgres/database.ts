/**
 * Statements on a pool of connections, and what their failures mean.
 *
 * A statement of ours that writes is a transaction of its own, durable when it is answered. What the
 * server itself refused has changed nothing; when the connection breaks or the server ends while a
 * write is with it, nobody knows. A connection that failed is thrown away, so the store recovers by
 * itself as soon as the server is back.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 */

import { OutboxError } from "../model/errors.ts";
import type { Row } from "../model/stored-rows.ts";
import { inSchema } from "./schema.ts";

export type { Row };

/** Runs one statement with `$1`, `$2`, … and gives its rows. */
export type Query = (sql: string, values?: readonly unknown[]) => Promise<readonly Row[]>;

/** What is used of a `Pool` of pg. */
export interface PostgresPool {
  connect(): Promise<PostgresClient>;
  on(event: "error", listener: (error: Error) => void): unknown;
  removeListener(event: "error", listener: (error: Error) => void): unknown;
  end(): Promise<void>;
}

/** What is used of a `PoolClient` of pg. */
export interface PostgresClient {
  query(query: PostgresQuery): Promise<{ readonly rows: unknown[] }>;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "notification", listener: (message: Notification) => void): unknown;
  removeListener(event: "error", listener: (error: Error) => void): unknown;
  release(destroy?: boolean): void;
}

export interface PostgresQuery {
  text: string;
  values: unknown[];
  name?: string;
  query_timeout: number;
}

export interface Notification {
  readonly channel: string;
  readonly payload?: string | undefined;
}

export interface DatabaseOptions {
  readonly pool: PostgresPool;
  /** Whether the pool ends with the store. */
  readonly ownsPool: boolean;
  readonly schema: string;
  readonly timeoutMs: number;
  readonly prepare: boolean;
}

/**
 * Settings of a connection on which plans may be kept, as `options` of a pool. The store's statements look
 * up rows of a table by its key, one for each row of a list; with these that is the only plan there is, so
 * that one which was made when a table was empty is right when it holds a million rows.
 *
 * @see https://www.postgresql.org/docs/current/runtime-config-query.html
 */
export const KEEP_PLANS =
  "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off";
const KEEPS_PLANS = `select current_setting('plan_cache_mode') = 'force_generic_plan'
  and current_setting('enable_seqscan') = 'off' and current_setting('enable_bitmapscan') = 'off' as yes`;

/** How often a statement runs that lost against another one. */
const TRIES = 5;

export class Database {
  readonly #options: DatabaseOptions;
  readonly #texts = new Map<string, string>();
  readonly #names = new Map<string, string>();
  #keepsPlans = false;

  constructor(options: DatabaseOptions) {
    this.#options = options;
    options.pool.on("error", ignore);
  }

  get schema(): string {
    return this.#options.schema;
  }

  /** Asks whether the connections are set to {@link KEEP_PLANS}; to be called before all else. */
  async open(): Promise<void> {
    const [answer] = await this.read(KEEPS_PLANS);
    this.#keepsPlans = answer?.yes === true;
  }

  /** Runs a statement that changes nothing. */
  read: Query = (sql, values = []) =>
    this.#run(sql, values, "prepared").catch((error) => throwFailure(error, "read"));

  /** Runs one statement as a transaction of its own. */
  write: Query = (sql, values = []) =>
    again(() => this.#run(sql, values, "prepared")).catch((error) => throwFailure(error, "write"));

  /**
   * The same for a statement with joins: planned once on connections that {@link KEEP_PLANS}, elsewhere
   * each time, by the sizes that the tables have then.
   */
  writeJoined: Query = (sql, values = []) =>
    again(() => this.#run(sql, values, this.#keepsPlans ? "prepared" : "planned")).catch((error) =>
      throwFailure(error, "write"),
    );

  /** Runs several statements as one transaction; only its commit can be in doubt. */
  transaction<Result>(work: (query: Query) => Promise<Result>): Promise<Result> {
    return again(() => this.#transaction(work));
  }

  /** Takes a connection for as long as the caller wants; it must be given back before `close`. */
  connect(): Promise<PostgresClient> {
    return this.#options.pool.connect();
  }

  /** Ends the pool if it is the store's. No statement may be under way. */
  async close(): Promise<void> {
    const { pool, ownsPool } = this.#options;
    if (ownsPool) await pool.end();
    pool.removeListener("error", ignore);
  }

  async #run(
    sql: string,
    values: readonly unknown[],
    kind: "prepared" | "planned",
  ): Promise<readonly Row[]> {
    return this.#withClient((client) => this.#query(client, sql, values, kind));
  }

  #transaction<Result>(work: (query: Query) => Promise<Result>): Promise<Result> {
    return this.#withClient(async (client) => {
      const query: Query = (sql, values = []) => this.#query(client, sql, values, "planned");
      let committing = false;
      try {
        await query("begin isolation level read committed");
        const result = await work(query);
        committing = true;
        await query("commit");
        return result;
      } catch (error) {
        if (isServerAlive(error)) await query("rollback").catch(ignore);
        throw failure(error, committing ? "write" : "read");
      }
    });
  }

  async #withClient<Result>(work: (client: PostgresClient) => Promise<Result>): Promise<Result> {
    const client = await this.#options.pool.connect().catch((error) => throwFailure(error, "read"));
    client.on("error", ignore);
    let destroy = false;
    try {
      return await work(client);
    } catch (error) {
      destroy = !isServerAlive(error);
      throw error;
    } finally {
      client.removeListener("error", ignore);
      client.release(destroy);
    }
  }

  async #query(
    client: PostgresClient,
    sql: string,
    values: readonly unknown[],
    kind: "prepared" | "planned",
  ): Promise<readonly Row[]> {
    const query: PostgresQuery = {
      text: this.#textOf(sql),
      values: [...values],
      query_timeout: this.#options.timeoutMs,
    };
    if (kind === "prepared" && this.#options.prepare) query.name = this.#nameOf(query.text);
    return (await client.query(query)).rows as readonly Row[];
  }

  #textOf(sql: string): string {
    let text = this.#texts.get(sql);
    if (text === undefined) {
      text = inSchema(sql, this.#options.schema);
      this.#texts.set(sql, text);
    }
    return text;
  }

  /** The name of a prepared statement says which schema it is for: stores may share a pool. */
  #nameOf(text: string): string {
    let name = this.#names.get(text);
    if (name === undefined) {
      name = `postbag_${this.#names.size}_${this.#options.schema}`.slice(0, 60);
      this.#names.set(text, name);
    }
    return name;
  }
}

/** Repeats what the server rolled back only because something else ran at the same time. */
async function again<Result>(work: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (tries === TRIES || !isCollision(error)) throw error;
    }
  }
}

/** A deadlock, a serialization failure, or two writers of the same attempt number. */
function isCollision(error: unknown): boolean {
  const refused = refusal(error);
  if (refused?.code === "40001" || refused?.code === "40P01") return true;
  return refused?.code === "23505" && refused.constraint === "outbox_attempt_pkey";
}

/** Whether the fault lies in what this statement was given, so that others may fare better. */
export function isOwnFault(error: unknown): boolean {
  const code = refusal(error)?.code ?? "";
  return ["21", "22", "23", "40", "54"].includes(code.slice(0, 2));
}

interface Refusal {
  readonly code: string;
  readonly constraint?: string;
}

/** What the server answered; `undefined` if it is no answer of a server. */
function refusal(error: unknown): Refusal | undefined {
  const found = error instanceof OutboxError ? error.cause : error;
  const isAnswer = found instanceof Error && "severity" in found && "code" in found;
  return isAnswer && typeof found.code === "string" ? (found as unknown as Refusal) : undefined;
}

/** Connection exceptions (08) and a server that shuts down or crashes (57P): the connection is gone. */
function isServerAlive(error: unknown): boolean {
  const code = refusal(error)?.code;
  return code !== undefined && !code.startsWith("08") && !code.startsWith("57P");
}

/** After these the server does not know itself whether it committed. */
function isInDoubt(error: unknown): boolean {
  if (isServerAlive(error)) return refusal(error)?.code === "40003";
  // Refused by the client before anything was sent.
  return !/not queryable/.test(error instanceof Error ? error.message : "");
}

function failure(error: unknown, access: "read" | "write"): OutboxError {
  if (error instanceof OutboxError) return error;
  const cause = error instanceof Error ? error : new Error(String(error));
  if (access === "write" && isInDoubt(error)) {
    const text = `The database was lost while a write was with it: ${cause.message}.`;
    return new OutboxError("ERR_OUTBOX_IN_DOUBT", text, { cause });
  }
  return new OutboxError("ERR_OUTBOX_STORE", `The database refused: ${cause.message}.`, { cause });
}

function throwFailure(error: unknown, access: "read" | "write"): never {
  throw failure(error, access);
}

function ignore(): void {}
