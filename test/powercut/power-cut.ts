/**
 * Records one run of a load on a real file system, then cuts its power at many instants and looks at
 * what each cut left, through the file system's own recovery.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import {
  type Cut,
  childEnvironment,
  type Extent,
  type FileSystemName,
  imagesAfter,
  keeps,
  mountImage,
  newDirectory,
  nowNs,
  RecordedDisk,
  type Recording,
  release,
  unmount,
  untornBlocks,
} from "../support/recorded-disk/index.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { checkMail, type Findings, mailDirectory } from "./check.ts";
import type { Acknowledgement, Load, Removal } from "./load.ts";

export interface Run {
  readonly fileSystem: FileSystemName;
  readonly seed: number;
  readonly recording: Recording;
  readonly acknowledgements: readonly Acknowledgement[];
  readonly removals: readonly Removal[];
  readonly startedNs: number;
  readonly endedNs: number;
}

/** Runs a load on a new disk to its end; every flush takes `flushMs`. */
export async function recordRun(
  fileSystem: FileSystemName,
  load: Omit<Load, "disk">,
  flushMs = 2,
): Promise<Run> {
  await using disk = await RecordedDisk.up({ fileSystem, flushMs, record: true });
  const startedNs = nowNs();
  const whole: Load = { ...load, disk: disk.mountPoint };
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, "load.ts"), JSON.stringify(whole)],
    { env: childEnvironment, stdio: ["ignore", "pipe", "inherit"] },
  );
  const [lines, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  if (code !== 0) throw new Error(`the load on ${fileSystem} ended with ${code}`);
  const events = lines
    .split("\n")
    .filter(Boolean)
    .map((line): Acknowledgement | Removal => JSON.parse(line));
  return {
    fileSystem,
    seed: load.seed,
    recording: await disk.recording(),
    acknowledgements: events.filter((event) => event.kind === "acknowledged"),
    removals: events.filter((event) => event.kind === "removed"),
    startedNs,
    endedNs: nowNs(),
  };
}

/**
 * Picks instants at which a fault would show: a third just after an acknowledgement, a third while a
 * flush runs, the rest anywhere in the run; and for each what the write cache keeps.
 */
export function chooseCuts(run: Run, count: number, seed: number): Cut[] {
  const random = new SeededRandom(seed);
  const oneOf = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const flushes = run.recording.flushes.filter(({ startedNs }) => startedNs > run.startedNs);
  const instants = [
    () => oneOf(run.acknowledgements).atNs,
    () => {
      const { startedNs, completedNs } = oneOf(flushes);
      return startedNs + random.next() * (completedNs - startedNs);
    },
    () => run.startedNs + random.next() * (run.endedNs - run.startedNs),
  ];
  return Array.from({ length: count }, (_, index) => ({
    atNs: instants[index % instants.length]!(),
    keep: keeps[index % keeps.length]!,
    seed: seed * 1_000 + index,
  }));
}

export interface CutResult {
  readonly cut: Cut;
  /** What `mount` said, when the file system could not be mounted any more. */
  readonly unmountable?: string;
  readonly findings: Findings;
}

/** Cuts the power of a recorded run: mounts what each cut leaves, and checks the mail on it. */
export async function cutPower(run: Run, cuts: readonly Cut[]): Promise<CutResult[]> {
  const directory = newDirectory();
  const mountPoint = join(directory, "mnt");
  mkdirSync(mountPoint);
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
  };
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  const results: CutResult[] = [];
  try {
    const untorn = untornBlocks[run.fileSystem];
    for (const { cut, extents } of imagesAfter(run.recording, cuts, untorn)) {
      if (interrupted) break;
      const image = join(directory, "image");
      writeImage(image, run.recording.sizeBytes, extents);
      const check = () => checkAt(run, cut, join(mountPoint, mailDirectory));
      try {
        await mountImage(run.fileSystem, image, mountPoint);
      } catch (cause) {
        // The empty mount point stands for the file system: all mail on it is lost.
        results.push({ cut, unmountable: String(cause), findings: check() });
        continue;
      }
      results.push({ cut, findings: check() });
      await unmount(mountPoint);
    }
  } finally {
    await release(directory);
    rmSync(directory, { recursive: true, force: true });
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
    if (interrupted) process.exit(130);
  }
  return results;
}

function checkAt(run: Run, cut: Cut, root: string): Findings {
  const before = <T extends { readonly atNs: number }>(events: readonly T[]): T[] =>
    events.filter(({ atNs }) => atNs <= cut.atNs);
  const removed = new Set(before(run.removals).map(({ serial }) => serial));
  return checkMail(root, run.seed, before(run.acknowledgements), removed);
}

function writeImage(path: string, sizeBytes: number, extents: Iterable<Extent>): void {
  rmSync(path, { force: true });
  const file = openSync(path, "wx", 0o600);
  ftruncateSync(file, sizeBytes);
  for (const { offset, bytes } of extents) writeSync(file, bytes, 0, bytes.length, offset);
  closeSync(file);
}
