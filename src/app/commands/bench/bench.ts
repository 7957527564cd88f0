/**
 * `postbag bench`: measures the delivery executor on the user's own disk (load.ts) and advises a
 * commit mode and limits (advice.ts). Called by `cli/bench.ts`.
 *
 * The bench works in the folder `postbag-bench` inside the data directory, and removes that folder
 * at the end. It touches no mailbox, is bounded in time and space, and needs no root. A server on
 * the same disk slows the bench down, and the bench slows the server down.
 */
import {
  closeSync,
  constants,
  fdatasyncSync,
  mkdirSync,
  openSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { DeliveryExecutor, DeliveryTuning } from "../../../delivery/index.ts";
import { whyNoFolder } from "../../data-directory.ts";
import { type FileSystemVerdict, judge, mountOf } from "../../doctor/file-system-check.ts";
import { AppError } from "../../errors.ts";
import {
  type Advice,
  adviceFor,
  type BenchCase,
  type BenchFigures,
  type BenchRow,
  benchCases,
} from "./advice.ts";
import { type BenchCommit, measureExecutor, openExecutor, quantile } from "./load.ts";

export interface BenchOptions {
  /** The data directory whose disk is measured. If missing, it is created and removed again. */
  readonly data: string;
  /** About how long to measure, in seconds; on a busy machine longer. @defaultValue 20 */
  readonly seconds?: number | undefined;
  /** Ends the bench early; its folder is removed as at every end. */
  readonly signal?: AbortSignal | undefined;
}

export interface BenchReport extends BenchFigures {
  /** The data directory. */
  readonly directory: string;
  /**
   * Whether mail in `directory` survives a power cut; `undefined` when its mount is unknown. On an
   * unsafe file system a flush may cost nothing, so its figures say little.
   */
  readonly fileSystem: FileSystemVerdict | undefined;
  readonly bodyBytes: number;
  readonly advice: Advice;
}

const folderName = "postbag-bench";
const bodyBytes = 4_096;
const MiB = 2 ** 20;
/** The most that all messages and journals of a bench take on the disk together. */
const maxBytes = 700 * MiB;
const messagesPerRun = 3_000;
const segments = { segmentBytes: 8 * MiB, maxSegments: 4 } as const;
const minCaseMs = 10;

/**
 * Measures the disk and advises; its folder is removed when this settles.
 *
 * @throws {AppError} `ERR_APP_DATA_DIRECTORY` without permission or space, or while the folder of
 *   another bench exists; `ERR_APP_USAGE` for an impossible number of seconds.
 * @throws the reason of the signal when it aborts.
 */
export async function runBench({ data, seconds = 20, signal }: BenchOptions): Promise<BenchReport> {
  if (!(seconds > 0 && seconds <= 3_600)) {
    throw new AppError("ERR_APP_USAGE", `seconds must be above 0, up to 3600; got ${seconds}`);
  }
  const untilMs = performance.now() + seconds * 1_000;
  const { directory, remove } = makeFolder(data);
  try {
    const mount = mountOf(directory);
    const flush = measureFlush(directory, Math.min(1_000, seconds * 50));
    const rows = await measureCases(directory, untilMs, signal);
    return {
      directory: data,
      fileSystem: mount && judge(mount),
      bodyBytes,
      flush,
      rows,
      advice: adviceFor({ flush, rows }),
    };
  } finally {
    remove();
  }
}

/**
 * Measures all cases in turn, then all once more, and returns the faster run of each case: a
 * disturbance of the machine slows a run and never makes one faster. The runs share the time until
 * `untilMs`; after that a case that has one run gets no second run.
 */
async function measureCases(
  directory: string,
  untilMs: number,
  signal: AbortSignal | undefined,
): Promise<BenchRow[]> {
  await using executors = new Executors(directory);
  const best = new Map<BenchCase, BenchRow>();
  const runs = [...benchCases, ...benchCases];
  let overheadMs = 0;
  for (const [position, one] of runs.entries()) {
    signal?.throwIfAborted();
    const startedMs = performance.now();
    if (best.has(one) && startedMs >= untilMs) break;
    const shareMs = (untilMs - startedMs) / (runs.length - position);
    const caseMs = Math.max(minCaseMs, shareMs - overheadMs);
    const { executor, folder } = await executors.for(one);
    const measured = await measureExecutor(executor, folder, {
      commit: one.commit,
      callers: one.callers,
      mailboxes: one.mailboxes,
      bodyBytes,
      warmupMs: caseMs / 4,
      measureMs: (caseMs * 3) / 4,
      maxMessages: messagesPerRun,
      signal,
    });
    if (measured.perSecond >= (best.get(one)?.perSecond ?? 0))
      best.set(one, { ...one, ...measured });
    overheadMs = Math.max(0, performance.now() - startedMs - caseMs);
  }
  return [...best.values()];
}

interface Opened {
  readonly executor: DeliveryExecutor;
  readonly folder: string;
}

/** One executor for each commit mode with its limits, in its own folder, opened at first use. */
class Executors implements AsyncDisposable {
  readonly #directory: string;
  readonly #opened = new Map<string, Promise<Opened>>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  for({ commit, maxBatch, maxConcurrentFlushes }: BenchCase): Promise<Opened> {
    const name = [commit, maxBatch ?? "", maxConcurrentFlushes ?? ""].join("-");
    const opened =
      this.#opened.get(name) ??
      this.#open(join(this.#directory, name), commit, {
        maxBatch,
        maxConcurrentFlushes,
      });
    this.#opened.set(name, opened);
    return opened;
  }

  async #open(folder: string, commit: BenchCommit, tuning: DeliveryTuning): Promise<Opened> {
    mkdirSync(folder);
    return { folder, executor: await openExecutor(folder, { commit, tuning, segments }) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of this.#opened.values()) await (await opened).executor.close();
  }
}

function makeFolder(data: string): { readonly directory: string; readonly remove: () => void } {
  const directory = join(data, folderName);
  let firstMade: string | undefined;
  try {
    firstMade = mkdirSync(data, { recursive: true, mode: 0o700 });
    mkdirSync(directory, { mode: 0o700 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") {
      throw new AppError(
        "ERR_APP_DATA_DIRECTORY",
        `${directory} exists: another bench is running there, or was killed. If none is running, remove that folder`,
        { cause },
      );
    }
    throw new AppError("ERR_APP_DATA_DIRECTORY", whyNoFolder(data, cause), { cause });
  }
  const remove = () => rmSync(firstMade ?? directory, { recursive: true, force: true });
  const { bavail, bsize } = statfsSync(directory);
  if (bavail * bsize < maxBytes) {
    remove();
    throw new AppError(
      "ERR_APP_DATA_DIRECTORY",
      `The bench writes up to ${maxBytes / MiB} MiB into ${data}, and only ${Math.floor((bavail * bsize) / MiB)} MiB are free. Free some space, or choose another folder with --data`,
    );
  }
  return { directory, remove };
}

/** Overwrites one block again and again with a flush each time, as a commit of the journal does. */
function measureFlush(directory: string, forMs: number): BenchFigures["flush"] {
  const block = new Uint8Array(bodyBytes);
  const flags = constants.O_CREAT | constants.O_RDWR;
  const file = openSync(join(directory, "flush"), flags, 0o600);
  try {
    // The first write also allocates the block; later ones do not.
    writeSync(file, block, 0, block.length, 0);
    fdatasyncSync(file);
    const tookMs: number[] = [];
    const untilMs = performance.now() + forMs;
    while (performance.now() < untilMs || tookMs.length < 3) {
      const startedMs = performance.now();
      writeSync(file, block, 0, block.length, 0);
      fdatasyncSync(file);
      tookMs.push(performance.now() - startedMs);
    }
    return { p50Ms: quantile(tookMs, 0.5), p99Ms: quantile(tookMs, 0.99) };
  } finally {
    closeSync(file);
  }
}
