/**
 * Tools for the launchers of real mail programs: installed programs, free ports, temporary
 * directories, and child processes that never outlive the test.
 *
 * A peer (another mail program) is always a private instance: its configuration, queue and state
 * are in a temporary directory, it listens on 127.0.0.1, and it is stopped by its process id.
 */
import { type ChildProcess, execFile, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, chmodSync, constants, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** Daemons are installed in sbin, which is not in the path of every user. */
const path = [process.env.PATH ?? "", "/usr/sbin", "/sbin"].join(delimiter);

/** The full path of an installed program. */
export function find(program: string): string | undefined {
  return path
    .split(delimiter)
    .map((directory) => join(directory, program))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** The first need that this machine lacks, as a text for `t.skip`; undefined if it has all. */
export function missing(needs: {
  root?: boolean;
  programs?: readonly string[];
}): string | undefined {
  if (needs.root && process.getuid?.() !== 0) return "needs root";
  const absent = (needs.programs ?? []).find((program) => find(program) === undefined);
  return absent === undefined ? undefined : `needs the program ${absent}`;
}

/** Runs a program to its end; rejects with its output. */
export async function run(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await execute(find(program) ?? program, args, { maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

/** Makes a directory that every user can read, for daemons that run as their own user. */
export function readableDirectory(name: string): { path: string; remove: () => void } {
  const directory = mkdtempSync(join(tmpdir(), `postbag-${name}-`));
  chmodSync(directory, 0o755);
  return { path: directory, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** A TCP port of 127.0.0.1 that was free at the call; it is not reserved. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no TCP port");
  return address.port;
}

export interface StartOptions extends SpawnOptions {
  /** User and group to run as; for root only. The program can still read files of root. */
  readonly owner?: number | undefined;
}

/**
 * Starts a program that the kernel ends when this process ends, however it ends (prctl(2),
 * PR_SET_PDEATHSIG; the process id is the program's own).
 */
export function start(program: string, args: readonly string[], options: StartOptions = {}) {
  const { owner, ...spawnOptions } = options;
  const capability = "+dac_read_search";
  const as =
    owner === undefined
      ? []
      : [
          ...["--reuid", String(owner), "--regid", String(owner), "--clear-groups"],
          ...["--inh-caps", capability, "--ambient-caps", capability],
        ];
  return spawn("setpriv", ["--pdeathsig", "TERM", ...as, "--", program, ...args], {
    stdio: "ignore",
    ...spawnOptions,
  });
}

export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/**
 * Ends a child and, if the child was started `detached`, its process group. Waits for their end,
 * and kills the processes that remain after ten seconds. Safe to call twice.
 */
export async function stop(child: ChildProcess, signal: NodeJS.Signals = "SIGTERM") {
  if (hasEnded(child)) return;
  const ended = once(child, "exit");
  child.kill(signal);
  const killer = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await ended;
  clearTimeout(killer);
  const group = child.pid ?? Number.NaN;
  await until("the end of its children", () => !signalGroup(group, 0), 10_000).catch(() =>
    signalGroup(group, "SIGKILL"),
  );
}

/** Signals a process group; returns whether the group had a process. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch {
    return false;
  }
}

/** Polls until `condition` holds: other programs emit no events. Rejects after `timeoutMs`. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs = 30_000,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await pause(10);
  }
}

/** Waits until a port of 127.0.0.1 accepts a connection, while `child` is alive. */
export async function listening(port: number, child: ChildProcess, log: () => string) {
  await until(`port ${port}`, async () => {
    if (hasEnded(child)) throw new Error(`the program ended instead of listening:\n${log()}`);
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return true;
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  });
}
