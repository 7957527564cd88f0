/** One SQLite connection with its statements, each prepared once. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { openSqlite } from "../../system/index.ts";
import type { Row } from "../model/stored-rows.ts";

export type { Row };

/** The values of a row, in the order of its columns. */
export type Values = readonly SQLInputValue[];

/** Size of the write-ahead log at which it is copied into the database. */
const checkpointBytes = 16 * 1024 * 1024;
/** Rows that one statement inserts: few sizes, so that few statements are prepared. */
const rowsAtOnce = [32, 8, 2, 1];

export class Statements {
  readonly database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  /** Statements whose rows are tuples. */
  readonly #tuples = new Map<string, StatementSync>();

  /**
   * Opens a database file so that a commit is durable: in WAL mode anything less than synchronous
   * FULL may lose the newest commits in a power cut.
   *
   * @see https://sqlite.org/pragma.html#pragma_synchronous
   */
  constructor(file: string, busyTimeoutMs: number) {
    this.database = openSqlite(file, { timeout: busyTimeoutMs });
    this.database.exec("pragma journal_mode = wal");
    this.database.exec("pragma synchronous = full");
    this.database.exec("pragma cache_size = -16384");
    const { page_size } = this.get("pragma page_size") as { page_size: number };
    this.database.exec(`pragma wal_autocheckpoint = ${Math.ceil(checkpointBytes / page_size)}`);
  }

  run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#prepare(sql).run(...values).changes);
  }

  /**
   * Inserts rows of equal length, up to 32 with one statement: running a statement takes as long as
   * inserting a row.
   *
   * @param into - The statement up to its `values`.
   */
  insert(into: string, rows: readonly Values[]): void {
    let from = 0;
    for (const size of rowsAtOnce) {
      for (; rows.length - from >= size; from += size) {
        this.#insertion(into, size, rows[from]?.length ?? 0).run(
          ...rows.slice(from, from + size).flat(),
        );
      }
    }
  }

  get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#prepare(sql).get(...values);
  }

  /** The values of the first row in the order of its columns; costs half as much as an object. */
  tuple<Tuple extends readonly unknown[]>(
    sql: string,
    ...values: SQLInputValue[]
  ): Tuple | undefined {
    return this.#prepare(sql, this.#tuples).get(...values) as unknown as Tuple | undefined;
  }

  /** All rows, each as {@link tuple} returns it. */
  tuples<Tuple extends readonly unknown[]>(sql: string, ...values: SQLInputValue[]): Tuple[] {
    return this.#prepare(sql, this.#tuples).all(...values) as unknown as Tuple[];
  }

  all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#prepare(sql).all(...values);
  }

  close(): void {
    this.#prepared.clear();
    this.#tuples.clear();
    this.database.close();
  }

  #insertion(into: string, rows: number, columns: number): StatementSync {
    const name = `${rows} ${into}`;
    let statement = this.#prepared.get(name);
    if (statement === undefined) {
      const row = `(${Array(columns).fill("?").join(", ")})`;
      statement = this.database.prepare(`${into} values ${Array(rows).fill(row).join(", ")}`);
      this.#prepared.set(name, statement);
    }
    return statement;
  }

  #prepare(sql: string, prepared = this.#prepared): StatementSync {
    let statement = prepared.get(sql);
    if (statement === undefined) {
      statement = this.database.prepare(sql);
      statement.setReturnArrays(prepared === this.#tuples);
      prepared.set(sql, statement);
    }
    return statement;
  }
}
