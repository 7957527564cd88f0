/**
 * Runs the command line in child processes. A server has its own data directory and ports that the
 * system chooses. The end of the test kills each server by its process id.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { atEnd } from "../../support/temporary.ts";

const root = join(import.meta.dirname, "../../..");
export const entry = join(root, "src/cli/main.ts");
/** The compile cache of Node, so that many short processes compile the sources only once. */
export const compileCache = join(root, "node_modules/.cache/postbag-tests");

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Runs the command as this user and group, which needs root. */
  readonly uid?: number;
  /** The program and its first arguments. @defaultValue this Node with `src/cli/main.ts` */
  readonly command?: readonly [string, ...string[]];
}

/** Runs a command to its end. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const child = start(args, options);
  const output = collect(child);
  child.stdin?.on("error", () => {}); // The command may end before it read its input.
  child.stdin?.end(options.input ?? "");
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  return { code, signal, ...output() };
}

export interface Server {
  readonly pid: number;
  readonly data: string;
  readonly smtpPort: number;
  readonly lmtpPort: number;
  readonly http: string;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves when every acknowledged message is visible in its mailbox; needs HTTP. */
  readonly published: () => Promise<void>;
  /** Resolves when the log has `lines` lines that match. @defaultValue one line */
  readonly logged: (pattern: RegExp, lines?: number) => Promise<void>;
  /** Sends a signal (SIGTERM by default) and waits for the end of the process. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<Ended>;
  readonly ended: Promise<Ended>;
}

/** Starts `postbag serve` and waits for "postbag ready"; the end of the test kills the process. */
export async function serve(
  t: TestContext,
  data: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<Server> {
  const any = "127.0.0.1:0";
  const addresses = ["--smtp", any, "--lmtp", any, "--http", any];
  const child = start(["serve", "--data", data, ...addresses, ...args], options);
  const output = collect(child);
  const ended = once(child, "close").then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as NodeJS.Signals | null,
    ...output(),
  }));
  atEnd(t, async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  });
  await Promise.race([isReady(child), ended]);
  const { stdout, stderr } = output();
  assert.match(stdout, /^postbag ready$/m, `did not start:\n${stdout}${stderr}`);
  const portOf = (name: string) =>
    Number(new RegExp(`^ +${name} .*:(\\d+)/?$`, "m").exec(stdout)?.[1]);
  return {
    pid: child.pid ?? 0,
    data,
    smtpPort: portOf("SMTP"),
    lmtpPort: portOf("LMTP"),
    http: `http://127.0.0.1:${portOf("HTTP")}`,
    published: () => allPublished(`http://127.0.0.1:${portOf("HTTP")}`),
    logged: (pattern, lines = 1) =>
      until(child, () => {
        const { stderr } = output();
        if (lines === 1) return pattern.test(stderr);
        return stderr.split("\n").filter((line) => pattern.test(line)).length >= lines;
      }),
    stdout: () => output().stdout,
    stderr: () => output().stderr,
    stop: (signal = "SIGTERM") => {
      child.kill(signal);
      return ended;
    },
    ended,
  };
}

/** Resolves when the condition holds; checks the condition now and after each output. */
async function until(child: ChildProcess, holds: () => boolean): Promise<void> {
  while (!holds()) await once(child.stderr!, "data");
}

/** Reads the metrics until no message is unpublished. */
async function allPublished(http: string): Promise<void> {
  for (;;) {
    const metrics = await (await fetch(`${http}/metrics`)).text();
    if (/^postbag_unpublished_messages 0$/m.test(metrics)) return;
  }
}

/** The files of one Maildir folder with their contents, by name. */
export function filesIn(data: string, mailbox: string, folder = "new"): Map<string, string> {
  const path = join(data, "mail", mailbox, folder);
  return new Map(readdirSync(path).map((name) => [name, readFileSync(join(path, name), "utf8")]));
}

function start(args: readonly string[], options: RunOptions): ChildProcess {
  const [program, ...first] = options.command ?? [process.execPath, entry];
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("POSTBAG_"));
  return spawn(program, [...first, ...args], {
    cwd: options.cwd ?? root,
    env: { ...Object.fromEntries(inherited), NODE_COMPILE_CACHE: compileCache, ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
    ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
  });
}

function collect(child: ChildProcess): () => { stdout: string; stderr: string } {
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return () => ({ stdout, stderr });
}

function isReady(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    let seen = "";
    child.stdout?.on("data", (text: string) => {
      seen += text;
      if (/^postbag ready$/m.test(seen)) resolve();
    });
  });
}

/** Calls `each` for all cases, with as many calls at a time as the machine has processors. */
export async function inParallel<Case>(
  cases: readonly Case[],
  each: (one: Case) => Promise<void>,
): Promise<void> {
  const left = [...cases];
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await each(next);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}
