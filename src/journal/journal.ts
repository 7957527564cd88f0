/**
 * A group-commit log: frames of opaque octets, each durable by one flush, kept until every volume they
 * are for has published them.
 *
 * Opening reads what is there, and writes it down again as understood, in a new segment, before anybody
 * acts on it: what was read may exist in the page cache only.
 *
 * Source: docs/explanation/durability.md.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { FoundFrame, LiveSegment } from "./contents.ts";
import { JournalError, type JournalErrorCode, refusal } from "./errors.ts";
import type { Lsn } from "./format.ts";
import { type Marks, maxVolumeBytes } from "./info.ts";
import { type Inspection, inspectLog } from "./inspect.ts";
import { Log } from "./log.ts";
import type { LogStats, OlderSegment } from "./log-state.ts";
import { checkedOptions, type JournalOptions } from "./options.ts";
import { type ReadLog, type Recovery, readLog, readPayload, recoveredFrame } from "./read-log.ts";
import { lockName, makeDirectoryDurably, SegmentFiles } from "./segment-files.ts";

export interface AppendOptions {
  /** May use the spare segment that new mail never gets: for what makes room again. */
  readonly reserved?: boolean;
}

export interface MarkOptions {
  /** How long the mark may wait for a frame to ride with, in milliseconds. @defaultValue 0 */
  readonly withinMs?: number;
}

export class Journal {
  /** 32 hexadecimal digits, drawn when the journal was first opened. */
  readonly id: string;
  /** How often the journal has been opened; on the disk since `open` returned. */
  readonly starts: bigint;
  readonly #log: Log;
  readonly #damage: readonly string[];
  readonly #unlock: () => void;
  #closing: Promise<void> | undefined;

  private constructor(
    log: Log,
    id: string,
    starts: bigint,
    damage: readonly string[],
    unlock: () => void,
  ) {
    this.#log = log;
    this.id = id;
    this.starts = starts;
    this.#damage = damage;
    this.#unlock = unlock;
  }

  /**
   * Opens the journal in a directory, or makes one, and tells what it holds.
   *
   * On return a new segment is on the disk that says how the log was understood and carries a copy of
   * the last frame of every older segment. No older segment is written into.
   *
   * @throws {JournalError} `ERR_JOURNAL_OPTION`, `_LOCKED`, `_VERSION`, or `_OPEN_FAILED` with its
   *   `cause` when the directory is not usable: full, read-only, not ours. Nothing is lost then.
   */
  static async open(
    options: JournalOptions,
  ): Promise<{ readonly journal: Journal; readonly recovery: Recovery }> {
    const checked = checkedOptions(options);
    const { directory, fileSystem, clock, segmentBytes, maxSegments, retryMs } = checked;
    const files = new SegmentFiles(directory, segmentBytes, fileSystem, clock);
    await asOpening(directory, () => makeDirectoryDurably(fileSystem, directory));
    const unlock = await asOpening(directory, async () =>
      fileSystem.lock(join(directory, lockName)),
    );
    let log: Log | undefined;
    try {
      return await asOpening(directory, async () => {
        await fileSystem.preferInPlace(directory);
        files.sweep();
        const { replay } = readLog(files);
        for (const name of replay.free) files.remove({ name });
        const id = replay.id ?? randomBytes(16).toString("hex");
        const starts = replay.starts + 1n;
        log = new Log(files, fileSystem, clock, {
          ...{ id, starts, segmentBytes, maxSegments, retryMs },
          marks: replay.marks,
          older: olderSegments(replay),
          highestGeneration: replay.highestGeneration,
          highestLsn: replay.highestLsn,
        });
        const frames = await writeDown(log, files, replay);
        log.opened();
        for (const name of replay.freed) files.remove({ name });
        const recovery = {
          frames: frames.map((frame) => recoveredFrame(files, frame)),
          marks: replay.marks,
          damage: replay.damage,
        };
        return { journal: new Journal(log, id, starts, replay.damage, unlock), recovery };
      });
    } catch (error) {
      await log?.close();
      unlock();
      throw error;
    }
  }

  /**
   * Reads the journal without taking its lock and without touching anything. While a process has it
   * open, what is found may be a moment old.
   *
   * @throws {JournalError} `ERR_JOURNAL_VERSION`, `ERR_JOURNAL_OPEN_FAILED`
   */
  static async inspect(
    options: Pick<JournalOptions, "directory" | "fileSystem">,
  ): Promise<Inspection> {
    const { directory, fileSystem, clock, segmentBytes } = checkedOptions(options);
    const files = new SegmentFiles(directory, segmentBytes, fileSystem, clock);
    return asOpening(directory, async () => inspectLog(files));
  }

  /** Whether new frames are taken: not after a second failed write, until a write has succeeded. */
  get accepting(): boolean {
    return this.#log.accepting;
  }

  /**
   * Octets that new frames may still take before `ERR_JOURNAL_FULL`; the reserved spare is not among
   * them. A frame takes its payload, about 300 octets, and what is missing to a multiple of 4096; what
   * is left at the end of a segment may be too little for it.
   */
  get freeBytes(): number {
    return this.#log.freeBytes;
  }

  /**
   * Writes one frame: its parts gathered, by one synchronous write, after that of the frame before.
   * The parts may be used again when the call has resolved.
   *
   * On return the frame is on the disk and has its number. After a rejection it does not count, even if
   * it is found on the disk; only after `ERR_JOURNAL_WRITE_FAILED` and a crash before the journal
   * accepts again may it still be recovered.
   *
   * @throws {JournalError} `ERR_JOURNAL_FULL`, `_FRAME_TOO_LARGE`, `_WRITE_FAILED`, `_CLOSED`,
   *   `_OPTION`
   */
  async append(
    payload: readonly Uint8Array[],
    volumes: readonly string[],
    { reserved = false }: AppendOptions = {},
  ): Promise<Lsn> {
    checkVolumes(volumes);
    const claim = reserved ? "reserved" : "mail";
    const { lsn } = await this.#log.append({ payload, volumes, claim });
    return lsn;
  }

  /**
   * Records how far a volume has come. Resolves when that is on the disk: with the next frame's write,
   * or one of its own when none comes in time. While the disk refuses writes it waits. A mark never goes
   * back, and what is on the disk already is not written again.
   *
   * @throws {JournalError} `ERR_JOURNAL_OPTION` for a number that was never given out, or to publish
   *   what is not durable; `ERR_JOURNAL_CLOSED`
   */
  async mark(
    volume: string,
    marks: Partial<Marks>,
    { withinMs = 0 }: MarkOptions = {},
  ): Promise<void> {
    checkVolumes([volume]);
    const known = this.#log.known.marks.get(volume);
    const durable = marks.durable ?? 0n;
    const published = marks.published ?? 0n;
    for (const mark of [durable, published]) {
      if (mark <= this.#log.known.highestLsn) continue;
      throw refusal("a mark", `at most ${this.#log.known.highestLsn}`, mark);
    }
    const reached = known && known.durable > durable ? known.durable : durable;
    if (published > reached) throw refusal("published", `at most ${reached}`, published);
    await this.#log.mark(volume, marks, withinMs);
  }

  /**
   * Says that recovery has acted on everything: segments of earlier processes are deleted from now on,
   * each when the marks have passed its frames.
   *
   * @throws {JournalError} `ERR_JOURNAL_DAMAGED` when the log was damaged: nothing is deleted.
   */
  async recovered(): Promise<void> {
    if (this.#damage.length > 0) {
      throw new JournalError(
        "ERR_JOURNAL_DAMAGED",
        `the journal is damaged, its segments are kept: ${this.#damage.join("; ")}`,
      );
    }
    await this.#log.letGo(() => true);
  }

  stats(): LogStats {
    return this.#log.stats();
  }

  /**
   * Writes what is waiting, refuses new frames, and gives the lock back. Idempotent. What the disk does
   * not take is rejected with `ERR_JOURNAL_CLOSED`.
   */
  close(): Promise<void> {
    this.#closing ??= this.#log.close().finally(this.#unlock);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

type Replayed = ReadLog["replay"];

/** Writes the log down as understood; answers where each frame can be read from now on. */
async function writeDown(
  log: Log,
  files: SegmentFiles,
  replay: Replayed,
): Promise<readonly FoundFrame[]> {
  await log.writeState();
  const copies = new Map<Lsn, FoundFrame>();
  for (const { doubtful } of replay.live) {
    if (!doubtful || copies.has(doubtful.lsn)) continue;
    const frame = replay.frames.find(({ lsn }) => lsn === doubtful.lsn) ?? doubtful;
    const { lsn, volumes } = frame;
    const payload = [readPayload(files, frame)];
    const { segment, at, infoBytes } = await log.append({
      payload,
      volumes,
      copyOf: lsn,
      claim: "must",
    });
    copies.set(lsn, { ...frame, segment, at, infoBytes });
  }
  const isCopied = ({ frames, isDamaged }: LiveSegment) =>
    !isDamaged && frames.every(({ lsn }) => copies.has(lsn));
  const spent = new Set(replay.live.filter(isCopied).map(({ generation }) => generation));
  if (spent.size > 0) await log.letGo(({ generation }) => spent.has(generation), true);
  return replay.frames.map((frame) => copies.get(frame.lsn) ?? frame);
}

function olderSegments(replay: Replayed): OlderSegment[] {
  const found = replay.live.map(({ name, generation, sure, end, frames, isDamaged }) => ({
    ...{ name, generation, sure, end, isDamaged, isKept: true },
    highest: highestByVolume(frames),
  }));
  const missing = replay.missing.map((generation) => ({
    ...{ name: "", generation, sure: 0, end: 0, isDamaged: true, isKept: true },
    highest: new Map<string, Lsn>(),
  }));
  return [...found, ...missing];
}

function highestByVolume(frames: readonly FoundFrame[]): Map<string, Lsn> {
  const highest = new Map<string, Lsn>();
  for (const { lsn, volumes } of frames) {
    for (const volume of volumes) {
      if (lsn > (highest.get(volume) ?? 0n)) highest.set(volume, lsn);
    }
  }
  return highest;
}

function checkVolumes(volumes: readonly string[]): void {
  if (volumes.length === 0) throw refusal("volumes", "one or more names", volumes);
  for (const volume of volumes) {
    const bytes = typeof volume === "string" ? Buffer.byteLength(volume) : 0;
    if (bytes === 0 || bytes > maxVolumeBytes) {
      throw refusal("volume", `a name of 1 to ${maxVolumeBytes} bytes`, volume);
    }
  }
}

/** What these mean for a journal at work, they do not mean for one that is being opened. */
const ofOpening: ReadonlySet<JournalErrorCode> = new Set([
  "ERR_JOURNAL_FULL",
  "ERR_JOURNAL_WRITE_FAILED",
]);

async function asOpening<Value>(directory: string, action: () => Promise<Value>): Promise<Value> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof JournalError && !ofOpening.has(error.code)) throw error;
    const cause = (error instanceof JournalError ? error.cause : undefined) ?? error;
    if ((cause as { code?: unknown }).code === "EAGAIN") {
      const text = `another process has the journal in ${directory} open`;
      throw new JournalError("ERR_JOURNAL_LOCKED", text, { cause });
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    const text = `the journal in ${directory} cannot be opened: ${why}`;
    throw new JournalError("ERR_JOURNAL_OPEN_FAILED", text, { cause });
  }
}
