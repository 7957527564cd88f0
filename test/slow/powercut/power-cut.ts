/**
 * Cuts the power of a recorded run (record-run.ts) at many instants and checks (check.ts) the mail
 * after the file system's own recovery and, with a journal, after the executor's recovery too.
 */
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import {
  type Cut,
  type Extent,
  imagesAfter,
  keeps,
  mountImage,
  newDirectory,
  release,
  unmount,
  untornBlocks,
} from "../../support/recorded-disk/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import {
  checkMail,
  type Findings,
  type Leftovers,
  leftIn,
  mailDirectory,
  mailRoot,
} from "./check.ts";
import { expectationAt } from "./events.ts";
import { journalOf } from "./methods.ts";
import { afterwards, placesOf, type Run, recordRecovery, recover } from "./record-run.ts";
import type { Recovered } from "./recover.ts";

/**
 * Picks instants at which a fault would show: just after an acknowledgement, during a flush,
 * anywhere in the run, and between a kill and the end of the next recovery; and for each the part
 * of the write cache that survives.
 */
export function chooseCuts(run: Run, count: number, seed: number): Cut[] {
  const random = new SeededRandom(seed);
  const oneOf = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const between = (fromNs: number, toNs: number) => fromNs + random.next() * (toNs - fromNs);
  const flushes = run.recordings
    .flatMap((recording) => recording.flushes)
    .filter(({ startedNs }) => startedNs > run.startedNs);
  const during = run.events.filter(
    ({ kind, atNs }) => kind === "acknowledged" && atNs > run.startedNs,
  );
  const { killed } = run;
  const firstNs = run.events.find(({ atNs }) => atNs > run.startedNs)?.atNs ?? run.startedNs;
  const instants = [
    ...(during.length > 0 ? [() => oneOf(during).atNs] : []),
    () => {
      const { startedNs, completedNs } = oneOf(flushes);
      return between(startedNs, completedNs);
    },
    () => between(firstNs, run.endedNs),
    ...(killed ? [() => between(killed.atNs, killed.openedNs)] : []),
  ];
  return cutsAt(instants, count, seed);
}

/** Picks instants just after an acknowledgement: most such cuts leave mail to recover. */
export function chooseBusyCuts(run: Run, count: number, seed: number): Cut[] {
  const random = new SeededRandom(seed);
  const acknowledged = run.events.filter(({ kind }) => kind === "acknowledged");
  return cutsAt([() => acknowledged[random.below(acknowledged.length)]!.atNs], count, seed);
}

/** Picks the end of a run and an empty cache: any flush that was left out loses mail. */
export function cutAtEnd(run: Run): Cut {
  return { atNs: run.endedNs, keep: "none", seed: run.seed };
}

function cutsAt(instants: readonly (() => number)[], count: number, seed: number): Cut[] {
  return Array.from({ length: count }, (_, index) => ({
    atNs: instants[index % instants.length]!(),
    keep: keeps[index % keeps.length]!,
    seed: seed * 1_000 + index,
  }));
}

export interface CutResult {
  readonly cut: Cut;
  /** The error of `mount`, if a file system could not be mounted. */
  readonly unmountable?: string;
  /** The error of the executor, if it could not recover. */
  readonly unrecoverable?: string;
  /** With a journal: the findings before the executor's recovery; they count no mail as lost. */
  readonly before?: Findings;
  readonly findings: Findings;
  readonly recovered?: Recovered & Leftovers;
}

/**
 * Cuts the power of a recorded run; mounts the disks of each cut, recovers, and checks the mail.
 */
export async function cutPower(run: Run, cuts: readonly Cut[]): Promise<CutResult[]> {
  return overImages(run, cuts, (cut, images, directory) => resultOf(run, cut, images, directory));
}

/** Cuts the power, records the recovery from each cut, and cuts each recovery `timesEach` times. */
export async function cutRecovery(
  run: Run,
  cuts: readonly Cut[],
  timesEach: number,
): Promise<{ readonly run: Run; readonly results: readonly CutResult[] }[]> {
  const recoveries = await overImages(run, cuts, (cut, images) =>
    recordRecovery(run, cut.atNs, images),
  );
  const found = [];
  for (const [index, recovery] of recoveries.entries()) {
    const results = await cutPower(recovery, chooseCuts(recovery, timesEach, run.seed + index));
    found.push({ run: recovery, results });
  }
  return found;
}

/** Writes the disks of each cut to image files, earliest cut first. */
async function overImages<T>(
  run: Run,
  cuts: readonly Cut[],
  use: (cut: Cut, images: readonly string[], directory: string) => Promise<T>,
): Promise<T[]> {
  const directory = newDirectory();
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
  };
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  const results: T[] = [];
  try {
    const isUntorn = untornBlocks[run.fileSystem];
    const disks = run.recordings.map((recording, disk) => {
      // Each disk loses another part of its cache.
      const own = cuts.map((cut) => ({ ...cut, seed: cut.seed + disk * 1_000_003 }));
      return imagesAfter(recording, own, isUntorn)[Symbol.iterator]();
    });
    for (const cut of cuts.toSorted((a, b) => a.atNs - b.atNs)) {
      if (interrupted) break;
      const images = disks.map((disk, index) => {
        const image = join(directory, `image${index}`);
        writeImage(image, run.recordings[index]!.sizeBytes, disk.next().value.extents);
        return image;
      });
      results.push(await use(cut, images, directory));
    }
  } finally {
    await release(directory);
    rmSync(directory, { recursive: true, force: true });
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
    if (interrupted) process.exit(130);
  }
  return results;
}

async function resultOf(
  run: Run,
  cut: Cut,
  images: readonly string[],
  directory: string,
): Promise<CutResult> {
  const roots = images.map((_, index) => join(directory, `mnt${index}`));
  const mail = join(roots[0]!, mailDirectory);
  const check = () =>
    checkMail(mail, run.seed, expectationAt(run.fileSystem, run.events, cut.atNs));
  try {
    for (const [index, root] of roots.entries()) {
      mkdirSync(root, { recursive: true });
      await mountImage(run.fileSystem, images[index]!, root);
    }
  } catch (cause) {
    // The mount point stays empty: all mail on that file system counts as lost.
    return { cut, unmountable: String(cause), findings: check() };
  }
  try {
    if (journalOf(run.method) === undefined) return { cut, findings: check() };
    const before = { ...check(), expected: 0, lost: [] };
    try {
      const options = { ...placesOf(roots), seed: run.seed, serial: afterwards.last };
      const recovered = await recover(options);
      const left = leftIn(join(roots[0]!, mailRoot));
      return { cut, before, findings: check(), recovered: { ...recovered, ...left } };
    } catch (cause) {
      return { cut, before, findings: check(), unrecoverable: String(cause) };
    }
  } finally {
    for (const root of roots) await unmount(root);
  }
}

function writeImage(path: string, sizeBytes: number, extents: Iterable<Extent>): void {
  rmSync(path, { force: true });
  const file = openSync(path, "wx", 0o600);
  ftruncateSync(file, sizeBytes);
  for (const { offset, bytes } of extents) writeSync(file, bytes, 0, bytes.length, offset);
  closeSync(file);
}
