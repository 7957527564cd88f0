/**
 * A group-commit log: frames of opaque bytes, each durable by one flush, stored until every volume
 * that needs them has published them.
 *
 * Opening reads the log and rewrites its state in a new segment before a caller acts on it: the
 * bytes that were read may exist in the page cache only.
 *
 * Source: docs/explanation/durability.md.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { errnoOf } from "../system/index.ts";
import type { FoundFrame, LiveSegment, LogContents } from "./contents.ts";
import { JournalError, type JournalErrorCode, refusal } from "./errors.ts";
import type { Lsn } from "./format.ts";
import { type Marks, maxVolumeBytes } from "./info.ts";
import { Log } from "./log.ts";
import type { LogStats, OlderSegment } from "./log-state.ts";
import { checkedOptions, type JournalOptions } from "./options.ts";
import {
  type Inspection,
  inspectLog,
  type Recovery,
  readLog,
  readPayload,
  recoveredFrame,
} from "./read-log.ts";
import { lockName, makeDirectoryDurably, SegmentFiles } from "./segment-files.ts";

export interface AppendOptions {
  /** May use the spare segment that new mail never gets: for frames that make room again. */
  readonly reserved?: boolean | undefined;
}

export interface MarkOptions {
  /** Time the mark may wait for a frame to ride on, in milliseconds. @defaultValue 0 */
  readonly withinMs?: number | undefined;
}

interface OpenedJournal {
  readonly id: string;
  readonly starts: bigint;
  readonly damage: readonly string[];
  readonly unlock: () => void;
}

export class Journal {
  /** 32 hexadecimal digits, drawn when the journal was first opened. */
  readonly id: string;
  /** How many times the journal has been opened; durable since `open` returned. */
  readonly starts: bigint;
  readonly #log: Log;
  readonly #damage: readonly string[];
  readonly #unlock: () => void;
  #closing: Promise<void> | undefined;

  private constructor(log: Log, { id, starts, damage, unlock }: OpenedJournal) {
    this.#log = log;
    this.id = id;
    this.starts = starts;
    this.#damage = damage;
    this.#unlock = unlock;
  }

  /**
   * Opens the journal in a directory, or makes one, and returns its contents.
   *
   * On return a new segment is durable that has the state of the log and a copy of the last frame
   * of every older segment. No older segment is written into.
   *
   * @throws {JournalError} `ERR_JOURNAL_OPTION`, `_LOCKED`, `_VERSION`, or `_OPEN_FAILED` with its
   *   `cause` when the directory is not usable: full, read-only, not permitted. Nothing is lost
   *   then.
   */
  static async open(
    options: JournalOptions,
  ): Promise<{ readonly journal: Journal; readonly recovery: Recovery }> {
    const checked = checkedOptions(options);
    const { directory, fileSystem, clock, segmentBytes, maxSegments, retryMs, onAccepting } =
      checked;
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
        const { contents } = readLog(files);
        const { marks, damage, highestGeneration, highestLsn } = contents;
        for (const name of contents.free) files.remove({ name });
        const id = contents.id ?? randomBytes(16).toString("hex");
        const starts = contents.starts + 1n;
        log = new Log(files, fileSystem, clock, {
          id,
          starts,
          segmentBytes,
          maxSegments,
          retryMs,
          onAccepting,
          marks,
          older: olderSegments(contents),
          highestGeneration,
          highestLsn,
        });
        const found = await rewrite(log, files, contents);
        log.opened();
        for (const name of contents.freed) files.remove({ name });
        const frames = found.map((frame) => recoveredFrame(files, frame));
        const journal = new Journal(log, { id, starts, damage, unlock });
        return { journal, recovery: { frames, marks, damage } };
      });
    } catch (error) {
      await log?.close();
      unlock();
      throw error;
    }
  }

  /**
   * Reads the journal without its lock and without changing anything. While a process has it open,
   * the result may be a moment old.
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

  /** Whether new frames are accepted: false from a second failed write until a write succeeds. */
  get accepting(): boolean {
    return this.#log.isAccepting;
  }

  /**
   * Bytes that new frames may still take before `ERR_JOURNAL_FULL`, without the reserved spare. A
   * frame takes its payload and about 300 bytes, rounded up to a multiple of 4096; the rest of a
   * segment may be too small for it.
   */
  get freeBytes(): number {
    return this.#log.freeBytes;
  }

  /**
   * Writes one frame: its parts, gathered in one synchronous write, after the write of the frame
   * before. The parts may be reused when the call has resolved.
   *
   * On return the frame is durable and has its number. After a rejection it is void, even if the
   * disk has it; only after `ERR_JOURNAL_WRITE_FAILED` and a crash before the journal accepts again
   * may it still be recovered.
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
   * Records the progress of a volume. Resolves when the mark is on the disk: with the write of the
   * next frame, or with its own when none comes in time. While the disk refuses writes it waits. A
   * mark never goes back, and one that is on the disk already is not written again.
   *
   * @throws {JournalError} `ERR_JOURNAL_OPTION` for a number that was never assigned, or for
   *   `published` above `durable`; `ERR_JOURNAL_CLOSED`
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
   * Ends the recovery: from now on a segment of an earlier process is deleted when the marks have
   * passed its frames.
   *
   * @throws {JournalError} `ERR_JOURNAL_DAMAGED` when the log was damaged: nothing is deleted.
   */
  async recovered(): Promise<void> {
    if (this.#damage.length > 0) {
      throw new JournalError(
        "ERR_JOURNAL_DAMAGED",
        `the journal is damaged; its segments stay: ${this.#damage.join("; ")}`,
      );
    }
    await this.#log.unpin(() => true);
  }

  stats(): LogStats {
    return this.#log.stats();
  }

  /**
   * Refuses new frames, writes queued frames and marks, and releases the lock. Idempotent. Those
   * that the disk does not take are rejected with `ERR_JOURNAL_CLOSED`.
   */
  close(): Promise<void> {
    this.#closing ??= this.#log.close().finally(this.#unlock);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Rewrites the state of the log; returns where each frame can be read from now on. */
async function rewrite(
  log: Log,
  files: SegmentFiles,
  contents: LogContents,
): Promise<readonly FoundFrame[]> {
  await log.writeState();
  const copies = new Map<Lsn, FoundFrame>();
  for (const { doubtful } of contents.live) {
    if (!doubtful || copies.has(doubtful.lsn)) continue;
    const frame = contents.frames.find(({ lsn }) => lsn === doubtful.lsn) ?? doubtful;
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
  const copied = new Set(contents.live.filter(isCopied).map(({ generation }) => generation));
  if (copied.size > 0) await log.unpin(({ generation }) => copied.has(generation), true);
  return contents.frames.map((frame) => copies.get(frame.lsn) ?? frame);
}

/** The segments of earlier processes: all pinned until recovery has ended. */
function olderSegments({ live, missing }: LogContents): OlderSegment[] {
  const found = live.map(({ name, generation, durableCount, endCount, frames, isDamaged }) => ({
    name,
    generation,
    durableCount,
    endCount,
    isDamaged,
    isPinned: true,
    highest: highestByVolume(frames),
  }));
  const lost = missing.map((generation) => ({
    name: "",
    generation,
    durableCount: 0,
    endCount: 0,
    isDamaged: true,
    isPinned: true,
    highest: new Map<string, Lsn>(),
  }));
  return [...found, ...lost];
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

/** While a journal is being opened, these codes are reported as `ERR_JOURNAL_OPEN_FAILED`. */
const openingFailures: ReadonlySet<JournalErrorCode> = new Set([
  "ERR_JOURNAL_FULL",
  "ERR_JOURNAL_WRITE_FAILED",
]);

async function asOpening<Value>(directory: string, action: () => Promise<Value>): Promise<Value> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof JournalError && !openingFailures.has(error.code)) throw error;
    const cause = (error instanceof JournalError ? error.cause : undefined) ?? error;
    if (errnoOf(cause) === "EAGAIN") {
      const text = `the journal in ${directory} is open in another process; nothing was changed`;
      throw new JournalError("ERR_JOURNAL_LOCKED", text, { cause });
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    const text = `the journal in ${directory} cannot be opened: ${why}`;
    throw new JournalError("ERR_JOURNAL_OPEN_FAILED", text, { cause });
  }
}
