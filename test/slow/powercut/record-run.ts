/**
 * Records the writes that reach the disks while a load delivers mail, is killed and restarted, or
 * while a process recovers after a power cut.
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  childEnvironment,
  type FileSystemName,
  nowNs,
  RecordedDisk,
  type Recording,
} from "../../support/recorded-disk/index.ts";
import { type LoadEvent, parseEvents } from "./events.ts";
import type { Places } from "./journal-places.ts";
import type { Load } from "./load.ts";
import { journalOf, type Method } from "./methods.ts";
import type { Recovered, RecoverOptions } from "./recover.ts";

export interface Run {
  readonly fileSystem: FileSystemName;
  readonly method: Method;
  readonly seed: number;
  /** The disk with the mail; then the disk with the journal, if that is another disk. */
  readonly recordings: readonly Recording[];
  readonly events: readonly LoadEvent[];
  readonly startedNs: number;
  readonly endedNs: number;
  /** When the process was killed, and when the next process had recovered (monotonic). */
  readonly killed?: { readonly atNs: number; readonly openedNs: number } | undefined;
}

export interface LoadPlan extends Omit<Load, keyof Places | "first"> {
  /** Kills the process with SIGKILL after about half of the mail; another process continues. */
  readonly isKilled?: boolean | undefined;
}

const flushMs = 2;

/** Runs a load on new disks to the end of the load. */
export async function recordRun(fileSystem: FileSystemName, plan: LoadPlan): Promise<Run> {
  const { isKilled = false, ...load } = plan;
  const { method, seed, messages } = load;
  await using disks = new AsyncDisposableStack();
  const up = async () => disks.use(await RecordedDisk.up({ fileSystem, flushMs, record: true }));
  const all = [await up()];
  if (journalOf(method) === "another disk") all.push(await up());
  const places = placesOf(all.map(({ mountPoint }) => mountPoint));

  const startedNs = nowNs();
  const first = await runLoad(
    { ...load, ...places, first: 0 },
    isKilled ? messages / 2 : undefined,
  );
  const second = isKilled
    ? await runLoad({ ...load, ...places, first: messages, messages: messages / 2 })
    : undefined;
  const endedNs = nowNs();
  const opening = second?.events.find(({ kind }) => kind === "opened");
  return {
    fileSystem,
    method,
    seed,
    startedNs,
    endedNs,
    recordings: await Promise.all(all.map((disk) => disk.recording())),
    events: [...first.events, ...(second?.events ?? [])],
    killed: opening && { atNs: first.endedNs, openedNs: opening.atNs },
  };
}

/** The places of a run, given the mount points of its file systems. */
export function placesOf([disk, journalDisk]: readonly string[]): Places {
  return { disk: disk!, journalDisk };
}

interface LoadEnd {
  readonly events: readonly LoadEvent[];
  readonly endedNs: number;
}

/** Runs one process; kills it if and when so many messages are acknowledged. */
async function runLoad(load: Load, killAfter = Number.POSITIVE_INFINITY): Promise<LoadEnd> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, "load.ts"), JSON.stringify(load)],
    { env: childEnvironment, stdio: ["ignore", "pipe", "inherit"] },
  );
  let output = "";
  let acknowledged = 0;
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
    acknowledged += chunk.split('"acknowledged"').length - 1;
    if (acknowledged >= killAfter) child.kill("SIGKILL");
  });
  const [code, signal] = await once(child, "close");
  const isMeant = killAfter < Number.POSITIVE_INFINITY ? signal === "SIGKILL" : code === 0;
  if (!isMeant) throw new Error(`the load ended with ${code ?? signal}: ${JSON.stringify(load)}`);
  return { events: parseEvents(output), endedNs: nowNs() };
}

/** Recovers in a new process (recover.ts). @throws when that process fails or hangs */
export async function recover(options: RecoverOptions): Promise<Recovered> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(import.meta.dirname, "recover.ts"), JSON.stringify(options)],
    { env: childEnvironment, timeout: recoveryLimitMs },
  );
  return JSON.parse(stdout);
}

/**
 * Numbers of the messages delivered after recovery: the recorded one, and the one that ends a cut.
 */
export const afterwards = { first: 1_000_000, last: 1_000_001 };

/** A recovery that takes longer counts as hung, a failure; it normally takes a second at most. */
const recoveryLimitMs = 60_000;

/**
 * Puts disk images into new recorded disks and recovers there. Cuts of the run that is returned are
 * cuts during the recovery from an earlier cut.
 *
 * @param images Of the disks of `run`, as a cut at `cutNs` left them.
 */
export async function recordRecovery(
  run: Run,
  cutNs: number,
  images: readonly string[],
): Promise<Run> {
  await using disks = new AsyncDisposableStack();
  const all: RecordedDisk[] = [];
  for (const [position, image] of images.entries()) {
    const sizeMb = run.recordings[position]!.sizeBytes / 1024 ** 2;
    const { fileSystem } = run;
    const disk = await RecordedDisk.up({ fileSystem, sizeMb, flushMs, record: true, image });
    all.push(disks.use(disk));
  }
  const startedNs = nowNs();
  const places = placesOf(all.map(({ mountPoint }) => mountPoint));
  const { delivered } = await recover({ ...places, seed: run.seed, serial: afterwards.first });
  return {
    fileSystem: run.fileSystem,
    method: run.method,
    seed: run.seed,
    startedNs,
    endedNs: nowNs(),
    recordings: await Promise.all(all.map((disk) => disk.recording())),
    events: [...run.events.filter(({ atNs }) => atNs <= cutNs), delivered],
  };
}
