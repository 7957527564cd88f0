/**
 * Runs the store's statements on a pool of connections and turns their failures into OutboxErrors.
 *
 * A statement that writes is a transaction of its own, durable when it is answered. A statement
 * that the server refused has changed nothing. If the connection breaks or the server ends during a
 * write, its result is unknown. A failed connection is closed and not reused, so the store recovers
 * by itself as soon as the server is back.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
import { OutboxError } from "../model/errors.ts";
import type { Row } from "../model/stored-rows.ts";
import { inSchema } from "./schema.ts";

export type { Row };

/** Runs one statement with `$1`, `$2`, … and resolves with its rows. */
export type Query = (sql: string, values?: readonly unknown[]) => Promise<readonly Row[]>;

/** The methods of a `Pool` of pg that the store calls. */
export interface PostgresPool {
  connect(): Promise<PostgresClient>;
  on(event: "error", listener: (error: Error) => void): unknown;
  removeListener(event: "error", listener: (error: Error) => void): unknown;
  end(): Promise<void>;
}

/** The methods of a `PoolClient` of pg that the store calls. */
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
  name?: string | undefined;
  query_timeout: number;
}

interface Notification {
  readonly channel: string;
  readonly payload?: string | undefined;
}

interface DatabaseOptions {
  readonly pool: PostgresPool;
  /** Whether the store ends the pool when it closes. */
  readonly ownsPool: boolean;
  readonly schema: string;
  readonly timeoutMs: number;
  readonly prepare: boolean;
}

/**
 * Settings of a connection that may cache plans, as `options` of a pool. The store's statements
 * look up rows by key, one for each row of a list. With these settings that is the only possible
 * plan, so a plan made for an empty table is right for a million rows.
 *
 * @see https://www.postgresql.org/docs/current/runtime-config-query.html
 */
export const KEEP_PLANS =
  "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off";
const HAS_SETTINGS = `select current_setting('plan_cache_mode') = 'force_generic_plan'
  and current_setting('enable_seqscan') = 'off' and current_setting('enable_bitmapscan') = 'off' as yes`;

/** Most runs of a statement that collides with others. */
const maxTries = 5;

export class Database {
  readonly #options: DatabaseOptions;
  readonly #texts = new Map<string, string>();
  readonly #names = new Map<string, string>();
  #cachesPlans = false;

  constructor(options: DatabaseOptions) {
    this.#options = options;
    options.pool.on("error", ignore);
  }

  get schema(): string {
    return this.#options.schema;
  }

  /** Reads whether the connections have {@link KEEP_PLANS}; the first call of a store. */
  async open(): Promise<void> {
    const [answer] = await this.read(HAS_SETTINGS);
    this.#cachesPlans = answer?.yes === true;
  }

  /** Runs a statement that changes nothing. */
  read: Query = (sql, values = []) =>
    this.#run(sql, values, "prepared").catch((error) => throwFailure(error, "read"));

  /** Runs one statement as a transaction of its own. */
  write: Query = (sql, values = []) =>
    again(() => this.#run(sql, values, "prepared")).catch((error) => throwFailure(error, "write"));

  /**
   * Runs a statement with joins as a transaction of its own. The server plans it once on
   * connections with {@link KEEP_PLANS}, elsewhere at each run, by the present sizes of the tables.
   */
  writeJoined: Query = (sql, values = []) =>
    again(() => this.#run(sql, values, this.#cachesPlans ? "prepared" : "planned")).catch((error) =>
      throwFailure(error, "write"),
    );

  /** Runs several statements as one transaction; only its commit can be in doubt. */
  transaction<Result>(work: (query: Query) => Promise<Result>): Promise<Result> {
    return again(() => this.#transaction(work));
  }

  /** Takes a connection from the pool, which the caller must release before `close`. */
  connect(): Promise<PostgresClient> {
    return this.#options.pool.connect();
  }

  /** Ends the pool if the store owns it. No statement may be under way. */
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

  /** The name of a prepared statement includes the schema, because stores may share a pool. */
  #nameOf(text: string): string {
    let name = this.#names.get(text);
    if (name === undefined) {
      name = `postbag_${this.#names.size}_${this.#options.schema}`.slice(0, 60);
      this.#names.set(text, name);
    }
    return name;
  }
}

/** Repeats work that the server rolled back only because of concurrent work. */
async function again<Result>(work: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (tries === maxTries || !isCollision(error)) throw error;
    }
  }
}

/** A deadlock, a serialization failure, or two writers of the same attempt number. */
function isCollision(error: unknown): boolean {
  const refused = refusal(error);
  if (refused?.code === "40001" || refused?.code === "40P01") return true;
  return refused?.code === "23505" && refused.constraint === "outbox_attempt_pkey";
}

/** Whether the values of the statement caused the failure, so that other values may succeed. */
export function isOwnFault(error: unknown): boolean {
  const code = refusal(error)?.code ?? "";
  return ["21", "22", "23", "40", "54"].includes(code.slice(0, 2));
}

interface Refusal {
  readonly code: string;
  readonly constraint?: string;
}

/** The error that the server answered; `undefined` for any other error. */
function refusal(error: unknown): Refusal | undefined {
  const found = error instanceof OutboxError ? error.cause : error;
  const isAnswer = found instanceof Error && "severity" in found && "code" in found;
  return isAnswer && typeof found.code === "string" ? (found as unknown as Refusal) : undefined;
}

/**
 * Connection exceptions (08) and a server that shuts down or crashes (57P): the connection is gone.
 */
function isServerAlive(error: unknown): boolean {
  const code = refusal(error)?.code;
  return code !== undefined && !code.startsWith("08") && !code.startsWith("57P");
}

/** Whether a write may have been committed: the connection broke, or the server does not know. */
function isInDoubt(error: unknown): boolean {
  if (isServerAlive(error)) return refusal(error)?.code === "40003";
  // The client failed before it sent anything.
  return !/not queryable/.test(error instanceof Error ? error.message : "");
}

function failure(error: unknown, access: "read" | "write"): OutboxError {
  if (error instanceof OutboxError) return error;
  const cause = error instanceof Error ? error : new Error(String(error));
  if (access === "write" && isInDoubt(error)) {
    const text = `The database was lost: ${cause.message}; the write may or may not be durable.`;
    return new OutboxError("ERR_OUTBOX_IN_DOUBT", text, { cause });
  }
  const text = `The database refused: ${cause.message}; nothing was changed.`;
  return new OutboxError("ERR_OUTBOX_STORE", text, { cause });
}

function throwFailure(error: unknown, access: "read" | "write"): never {
  throw failure(error, access);
}

function ignore(): void {}
