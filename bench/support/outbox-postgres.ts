/**
 * PostgreSQL for a bench: default settings with fsync on. Each system has a filled database, and
 * each run a copy of that database, so that every run begins with the same tables.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Postgres, postgresBinaries } from "../../test/support/postgres.ts";
import { parseProcessTimes } from "./machine.ts";
import type { Meters } from "./outbox-drain.ts";

/** Clock ticks a second in /proc, the same on every Linux that Node runs on. */
const ticksPerSecond = 100;

export class BenchPostgres implements AsyncDisposable {
  readonly #server: Postgres;

  private constructor(server: Postgres) {
    this.#server = server;
  }

  /** Starts a server; without PostgreSQL here prints the reason and ends the program. */
  static async start(): Promise<BenchPostgres> {
    const found = postgresBinaries();
    if ("missing" in found) {
      console.error(`Skipped: ${found.missing}.`);
      process.exit(1);
    }
    const settings = { shared_buffers: "128MB", max_wal_size: "4GB" };
    return new BenchPostgres(await Postgres.start(found.bin, { settings }));
  }

  get folder(): string {
    return this.#server.folder;
  }

  async version(): Promise<string> {
    const [row] = await this.#server.sql("show server_version");
    return String(row?.server_version);
  }

  /** Makes a database, calls `fill` with it, and vacuums it; returns its name. */
  async filled(fill: (connectionString: string) => Promise<void>): Promise<string> {
    const connectionString = await this.#server.database();
    await fill(connectionString);
    await this.#server.sql("vacuum analyze", connectionString);
    return nameOf(connectionString);
  }

  /** Calls `work` with a copy of a database, and removes the copy afterwards. */
  async onCopy<T>(template: string, work: (connectionString: string) => Promise<T>): Promise<T> {
    const connectionString = await this.#server.database(template);
    await this.#server.sql("checkpoint");
    try {
      return await work(connectionString);
    } finally {
      await this.#drop(nameOf(connectionString));
    }
  }

  /**
   * Removes a database when its connections have ended. Connections are not cut off, because a pool
   * would report an error for one that it is just closing.
   */
  async #drop(name: string): Promise<void> {
    const sql = `select from pg_stat_activity where datname = '${name}'`;
    for (let tries = 0; tries < 100 && (await this.#server.sql(sql)).length > 0; tries += 1) {
      await sleep(50);
    }
    await this.#server.sql(`drop database ${name} with (force)`);
  }

  readonly meter = async (): Promise<Meters> => {
    const sql = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as wal";
    const [row] = await this.#server.sql(sql);
    return { walBytes: Number(row?.wal), serverCpuMs: this.#cpuMs() };
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop();
  }

  /** Processor time of the server's first process, of its ended children and of its living ones. */
  #cpuMs(): number {
    const first = Number.parseInt(
      readFileSync(join(this.folder, "data/postmaster.pid"), "utf8"),
      10,
    );
    const processes = readdirSync("/proc").flatMap((name) => {
      try {
        return /^\d+$/.test(name)
          ? [parseProcessTimes(readFileSync(`/proc/${name}/stat`, "utf8"))]
          : [];
      } catch {
        return [];
      }
    });
    const ours = processes.filter(({ pid, parent }) => pid === first || parent === first);
    return (ours.reduce((sum, { ticks }) => sum + ticks, 0) / ticksPerSecond) * 1_000;
  }
}

function nameOf(connectionString: string): string {
  return connectionString.slice(connectionString.lastIndexOf("/") + 1);
}
