/**
 * The writer of the log: one record after another, one write in flight.
 *
 * Record n+1 is written only after the write of record n has returned in full. Of two synchronous
 * writes in flight the later may reach the disk first, and a power cut would lose an acknowledged
 * record behind a torn one. A failed write is never repeated in its segment: the page cache shows
 * what the disk lacks, and a later sync reports success.
 *
 * Source: docs/explanation/durability.md.
 */
import type { Clock, FileSystem } from "../system/index.ts";
import {
  closedError,
  fullError,
  JournalError,
  tooLarge,
  tooManyVolumes,
  writeFailed,
} from "./errors.ts";
import type { Marks } from "./info.ts";
import {
  LogState,
  type LogStateOptions,
  type LogStats,
  type NewFrame,
  type OlderSegment,
  type Written,
} from "./log-state.ts";
import { MarkWaiters } from "./mark-waiters.ts";
import { type LogMode, type NextWrite, nextWrite } from "./next-write.ts";
import { RecordWriter } from "./record-writer.ts";
import type { SegmentFiles } from "./segment-files.ts";
import { SegmentPool } from "./segment-pool.ts";

export interface LogOptions extends LogStateOptions {
  readonly maxSegments: number;
  readonly retryMs: number;
  readonly onAccepting: ((isAccepting: boolean) => void) | undefined;
}

interface QueuedFrame extends NewFrame {
  readonly resolve: (where: Written) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * `LogMode` has its states; `nextWrite` decides in each of them. Closing refuses frames in any
 * state.
 */
export class Log {
  readonly #clock: Clock;
  readonly #options: LogOptions;
  readonly #state: LogState;
  readonly #pool: SegmentPool;
  readonly #queue: QueuedFrame[] = [];
  readonly #waiters: MarkWaiters;
  readonly #writer: RecordWriter;
  #running: Promise<void> | undefined;
  #mode: LogMode = "opening";
  #isClosed = false;
  readonly #report: AcceptingReport;
  #failure: unknown;
  #retryTimer: unknown;

  constructor(files: SegmentFiles, fileSystem: FileSystem, clock: Clock, options: LogOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#report = new AcceptingReport(options.onAccepting);
    this.#state = new LogState(options);
    this.#pool = new SegmentPool(files, this.#state, options.maxSegments, () => this.#wake());
    this.#waiters = new MarkWaiters(clock, () => this.#wake());
    this.#writer = new RecordWriter({
      fileSystem,
      state: this.#state,
      pool: this.#pool,
      waiters: this.#waiters,
      onSegmentBegun: () => this.#makeSpareAhead(),
      onWritten: () => {
        if (this.#mode !== "opening") this.#setMode("accepting");
      },
    });
  }

  get isAccepting(): boolean {
    return takesFrames(this.#mode) && !this.#isClosed;
  }

  /** The marks, written or not, and the highest number assigned. */
  get known(): Pick<LogState, "marks" | "highestLsn"> {
    return this.#state;
  }

  /** Bytes left for frames of new mail. */
  get freeBytes(): number {
    return this.isAccepting ? this.#pool.freeBytes : 0;
  }

  stats(): LogStats {
    return {
      segments: this.#pool.count,
      spareSegments: this.#pool.spares,
      waitingFrames: this.#queue.length,
      ...this.#writer.counts,
      pendingBytes: this.#state.pendingBytes,
    };
  }

  /**
   * Writes one frame. @throws JournalError `_CLOSED`, `_WRITE_FAILED`, `_FULL`, `_FRAME_TOO_LARGE`
   */
  append(frame: NewFrame): Promise<Written> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      if (!takesFrames(this.#mode)) return reject(writeFailed(this.#failure));
      const size = this.#state.sizeOf(frame);
      const maxSize = this.#state.freshRoom(frame.volumes);
      if (size > maxSize) return reject(tooLarge(size, maxSize));
      this.#queue.push({ ...frame, resolve, reject });
      this.#wake();
    });
  }

  /**
   * Records the progress of a volume; resolves when that is on the disk. The mark rides on the
   * write of the next record; if none comes within `withinMs`, it gets a write of its own.
   */
  mark(volume: string, marks: Partial<Marks>, withinMs: number): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    const { size } = this.#state.marks;
    if (!this.#state.hasRoomFor(volume)) return Promise.reject(tooManyVolumes(size));
    const merged = this.#state.mark(volume, marks);
    if (this.#writer.hasWritten(volume, merged)) return Promise.resolve();
    return this.#waiters.add(withinMs);
  }

  /** Writes a record that has nothing but the state of the log. */
  writeState(): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    return this.#waiters.add(0);
  }

  /** Ends the opening: from now on failed writes are retried, and marks wait for that. */
  opened(): void {
    this.#setMode("accepting");
    this.#report.begin();
  }

  /** Makes older segments releasable as soon as the marks have passed their frames. */
  unpin(which: (segment: OlderSegment) => boolean, isEmpty = false): Promise<void> {
    this.#state.unpin(which, isEmpty);
    return this.writeState();
  }

  /** Writes queued frames and marks, if the disk takes them, and closes every file. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#waiters.dueNow();
    while (this.#running !== undefined) await this.#running;
    this.#clock.clearTimeout(this.#retryTimer);
    for (const { reject } of this.#queue.splice(0)) reject(closedError());
    this.#waiters.rejectAll(closedError());
    await this.#pool.close();
  }

  #wake(): void {
    // One microtask later, so that the requests of one turn go in one write.
    this.#running ??= Promise.resolve().then(() => this.#run());
  }

  async #run(): Promise<void> {
    for (let next = this.#next(); next !== "idle"; next = this.#next()) await this.#carryOut(next);
    if (takesFrames(this.#mode)) this.#makeSpareAhead();
    this.#running = undefined;
  }

  #next(): NextWrite {
    const frame = this.#queue[0];
    const marksSize = this.#waiters.count > 0 ? this.#state.sizeOf(undefined) : undefined;
    return nextWrite({
      mode: this.#mode,
      frame: frame && this.#pool.placeFor(this.#state.sizeOf(frame), frame.claim),
      marks: marksSize === undefined ? undefined : this.#pool.placeFor(marksSize, "must"),
      areMarksDue: this.#waiters.areDue,
    });
  }

  async #carryOut(next: Exclude<NextWrite, "idle">): Promise<void> {
    switch (next) {
      case "repair":
        return this.#repair();
      case "frame":
        return this.#writeFrame();
      case "marks":
        // After a failure the marks stay true and wait for a later write.
        return this.#put(undefined).then(ignore, ignore);
      case "spare":
        return this.#pool.makeSpare();
      case "refuse":
        return this.#refuse();
    }
  }

  #refuse(): void {
    const error = fullError(this.#pool.failure);
    const frame = this.#queue.shift();
    if (frame) frame.reject(error);
    else this.#waiters.rejectAll(error);
  }

  async #writeFrame(): Promise<void> {
    const frame = this.#queue.shift();
    if (frame) await this.#put(frame).then(frame.resolve, frame.reject);
  }

  /** Writes a record, after a failed write once more in a new segment; then stops accepting. */
  async #put(frame: QueuedFrame | undefined): Promise<Written> {
    try {
      return await this.#writer.write(frame);
    } catch (error) {
      // Refused before a byte was written: nothing is in doubt.
      if (error instanceof JournalError) throw error;
    }
    try {
      return await this.#writer.write(frame);
    } catch (error) {
      this.#startFailing(error);
      throw writeFailed(error);
    }
  }

  #startFailing(cause: unknown): void {
    const wasOpening = this.#mode === "opening";
    this.#failure = cause;
    this.#setMode("repairing");
    for (const { reject } of this.#queue.splice(0)) reject(writeFailed(cause));
    if (wasOpening) this.#waiters.rejectAll(writeFailed(cause));
  }

  /** Writes the record that makes refused frames void; after that the log accepts again. */
  async #repair(): Promise<void> {
    this.#setMode("failing");
    try {
      await this.#writer.write(undefined);
    } catch {
      this.#retryLater();
    }
  }

  #retryLater(): void {
    if (this.#isClosed) return;
    this.#retryTimer ??= this.#clock.setTimeout(() => {
      this.#retryTimer = undefined;
      this.#pool.forgetFailure();
      if (this.#mode === "failing") this.#setMode("repairing");
      this.#wake();
    }, this.#options.retryMs);
  }

  #makeSpareAhead(): void {
    if (this.#pool.failure !== undefined) this.#retryLater();
    else if (this.isAccepting) this.#pool.makeAhead();
  }

  #setMode(mode: LogMode): void {
    this.#mode = mode;
    if (!this.#isClosed) this.#report.changed(takesFrames(mode));
  }
}

/**
 * Reports to `onAccepting` each change from the end of the opening on: a log that failed to open
 * accepts no frames, even if a record was written after the failure.
 */
class AcceptingReport {
  readonly #onAccepting: LogOptions["onAccepting"];
  #last: boolean | undefined;

  constructor(onAccepting: LogOptions["onAccepting"]) {
    this.#onAccepting = onAccepting;
  }

  begin(): void {
    this.#last = true;
  }

  changed(isAccepting: boolean): void {
    if (this.#last === undefined || this.#last === isAccepting) return;
    this.#last = isAccepting;
    // In a microtask of its own: what the callback throws must not fail the write under way.
    queueMicrotask(() => this.#onAccepting?.(isAccepting));
  }
}

function takesFrames(mode: LogMode): boolean {
  return mode === "opening" || mode === "accepting";
}

function ignore(): void {}
