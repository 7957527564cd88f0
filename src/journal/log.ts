/**
 * The writer of the log: one record after another, one write in flight.
 *
 * Record n+1 is written only after the write of record n has returned in full, because of two
 * synchronous writes under way the later may reach the disk first, and a cut would lose an acknowledged
 * record behind a torn one. A write that fails is never repeated in its segment: the page cache shows
 * what the disk lacks, and a later flush says that all is well.
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
import { laterMarks, type Marks } from "./info.ts";
import {
  LogState,
  type LogStateOptions,
  type LogStats,
  type NewFrame,
  type OlderSegment,
  type OwnSegment,
  type Written,
} from "./log-state.ts";
import { MarkWaiters } from "./mark-waiters.ts";
import { type Claim, type Place, placeFor, roomForMail, type Situation } from "./place.ts";
import type { SegmentFiles } from "./segment-files.ts";
import { Spares } from "./spares.ts";

export interface LogOptions extends LogStateOptions {
  readonly maxSegments: number;
  readonly retryMs: number;
}

interface Waiting extends NewFrame {
  readonly resolve: (where: Written) => void;
  readonly reject: (error: JournalError) => void;
}

/** Spares kept ready: the reserved one, and one to go on with. */
const wantedSpares = 2;

export class Log {
  readonly #files: SegmentFiles;
  readonly #fileSystem: FileSystem;
  readonly #clock: Clock;
  readonly #options: LogOptions;
  readonly #state: LogState;
  readonly #spares: Spares;
  /** The marks that are on the disk. */
  #writtenMarks: ReadonlyMap<string, Marks>;
  readonly #queue: Waiting[] = [];
  readonly #waiters: MarkWaiters;
  #running: Promise<void> | undefined;
  /** A second write failed: before anything else a record must say which frames are void. */
  #isFailing = false;
  #repairIsDue = false;
  #failure: unknown;
  #retryTimer: unknown;
  /** Until the log has been written down: whoever opens it waits for no disk to get better. */
  #isOpening = true;
  #isClosed = false;
  readonly #counts = { writes: 0, frames: 0, writtenBytes: 0, abandonedSegments: 0 };

  constructor(files: SegmentFiles, fileSystem: FileSystem, clock: Clock, options: LogOptions) {
    this.#files = files;
    this.#fileSystem = fileSystem;
    this.#clock = clock;
    this.#options = options;
    this.#state = new LogState(options);
    this.#spares = new Spares(files, () => this.#wake());
    this.#waiters = new MarkWaiters(clock, () => this.#wake());
    this.#writtenMarks = new Map(options.marks);
  }

  get accepting(): boolean {
    return !this.#isFailing && !this.#isClosed;
  }

  /** How far the volumes have come, as far as anybody said, and the highest number given out. */
  get known(): Pick<LogState, "marks" | "highestLsn"> {
    return this.#state;
  }

  /** Octets left for frames of new mail. */
  get freeBytes(): number {
    return this.accepting ? roomForMail(this.#situation(), this.#state.freshRoom([])) : 0;
  }

  stats(): LogStats {
    return {
      segments: this.#segments(),
      spareSegments: this.#spares.count,
      waitingFrames: this.#queue.length,
      ...this.#counts,
      pendingBytes: this.#state.pendingBytes,
    };
  }

  /** Writes one frame. @throws JournalError `_CLOSED`, `_WRITE_FAILED`, `_FULL`, `_FRAME_TOO_LARGE` */
  append(frame: NewFrame): Promise<Written> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      if (this.#isFailing) return reject(writeFailed(this.#failure));
      const size = this.#state.sizeOf(frame);
      const most = this.#state.freshRoom(frame.volumes);
      if (size > most) return reject(tooLarge(size, most));
      this.#queue.push({ ...frame, resolve, reject });
      this.#wake();
    });
  }

  /**
   * Records how far a volume has come; resolves when that is on the disk. It rides on the next record's
   * write; if none comes within `withinMs`, it gets a write of its own.
   */
  mark(volume: string, marks: Partial<Marks>, withinMs: number): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    const merged = laterMarks(this.#state.marks.get(volume), marks);
    if (!this.#state.hasRoomFor(volume)) {
      return Promise.reject(tooManyVolumes(this.#state.marks.size));
    }
    this.#state.marks.set(volume, merged);
    const written = this.#writtenMarks.get(volume);
    if (written?.durable === merged.durable && written.published === merged.published) {
      return Promise.resolve();
    }
    return this.#waiters.add(withinMs);
  }

  /** Has a record written that says nothing new but how things stand. */
  writeState(): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    return this.#waiters.add(0);
  }

  /** From now on what fails is tried again, and marks wait for that. */
  opened(): void {
    this.#isOpening = false;
  }

  /** Lets older segments go, once the marks have passed their frames. */
  letGo(which: (segment: OlderSegment) => boolean, hasNothing = false): Promise<void> {
    this.#state.letGo(which, hasNothing);
    return this.writeState();
  }

  /** Writes what is waiting, where the disk lets it, and closes every file. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#waiters.dueNow();
    while (this.#running !== undefined) await this.#running;
    await this.#spares.close();
    this.#clock.clearTimeout(this.#retryTimer);
    for (const { reject } of this.#queue.splice(0)) reject(closedError());
    this.#waiters.rejectAll(closedError());
    const { current, older } = this.#state;
    if (current) this.#files.close(current.file.file);
    for (const { file } of older) if (file) this.#files.close(file.file);
  }

  #wake(): void {
    // One microtask later, so that what is asked for in one turn goes in one write.
    this.#running ??= Promise.resolve().then(() => this.#run());
  }

  async #run(): Promise<void> {
    for (let step = this.#step(); step !== undefined; step = this.#step()) await step();
    this.#running = undefined;
  }

  /** The next thing to do, or nothing until someone wakes the writer. */
  #step(): (() => Promise<void>) | undefined {
    if (this.#isFailing) return this.#repairIsDue ? () => this.#repair() : undefined;
    const head = this.#queue[0];
    const place = head && this.#place(this.#state.sizeOf(head), head.claim);
    if (head && (place === "here" || place === "next")) return () => this.#writeFrame();
    if (head && place === "full")
      return async () => this.#queue.shift()?.reject(fullError(this.#spares.failure));
    // A frame that waits for room must not hold up the marks that make it.
    if (this.#waiters.areDue || (head && this.#waiters.count > 0)) {
      const marksPlace = this.#place(this.#state.sizeOf(undefined), "must");
      if (marksPlace === "here" || marksPlace === "next") {
        // A failure leaves the waiters waiting: what they say stays true, and is written in time.
        return () => this.#put(undefined).then(noMatter, noMatter);
      }
      if (marksPlace === "wait") return () => this.#spares.make();
      if (this.#isOpening) this.#waiters.rejectAll(fullError(this.#spares.failure));
      else this.#retryLater();
    }
    if (place === "wait") return () => this.#spares.make();
    this.#makeSpares();
    return undefined;
  }

  async #writeFrame(): Promise<void> {
    const frame = this.#queue.shift()!;
    try {
      frame.resolve(await this.#put(frame));
    } catch (error) {
      frame.reject(error as JournalError);
    }
  }

  /** Writes a record, after a failed write once more in a new segment; then stops accepting. */
  async #put(frame: Waiting | undefined): Promise<Written> {
    try {
      return await this.#attempt(frame);
    } catch (error) {
      // Refused before anything was written: nothing is in doubt.
      if (error instanceof JournalError) throw error;
    }
    try {
      return await this.#attempt(frame);
    } catch (error) {
      this.#startFailing(error);
      throw writeFailed(error);
    }
  }

  async #attempt(frame: Waiting | undefined): Promise<Written> {
    return this.#write(await this.#segmentFor(frame), frame);
  }

  async #segmentFor(frame: Waiting | undefined): Promise<OwnSegment> {
    for (;;) {
      const place = this.#place(this.#state.sizeOf(frame), frame?.claim ?? "must");
      if (place === "full") throw fullError(this.#spares.failure);
      if (place === "here") return this.#state.current!;
      if (place === "next") return this.#next();
      await this.#spares.make();
    }
  }

  #next(): OwnSegment {
    const next = this.#state.begin(this.#spares.take());
    this.#makeSpares();
    return next;
  }

  async #write(segment: OwnSegment, frame: Waiting | undefined): Promise<Written> {
    const marks = new Map(this.#state.marks);
    const waiters = this.#waiters.take();
    const encoded = this.#state.encode(segment, frame);
    const { bytes, lsn, at, infoBytes, gone } = encoded;
    try {
      await this.#fileSystem.writeAt(segment.file.file, bytes, segment.position);
    } catch (error) {
      this.#waiters.putBack(waiters);
      this.#abandon(segment);
      throw error;
    }
    const where = { lsn, segment: segment.file.name, at: segment.position + at, infoBytes };
    this.#state.written(segment, frame, encoded);
    this.#counts.writes += 1;
    this.#counts.writtenBytes += bytes.length;
    if (frame) this.#counts.frames += 1;
    this.#writtenMarks = marks;
    this.#isFailing = false;
    this.#release(gone);
    for (const { resolve } of waiters) resolve();
    return where;
  }

  /** Only after a record on the disk has said that they are not needed. */
  #release(gone: readonly OlderSegment[]): void {
    if (gone.length === 0) return;
    this.#state.release(gone);
    for (const { name, file } of gone) {
      const isWanted = this.#segments() < this.#options.maxSegments;
      if (file && isWanted) this.#spares.add(file);
      else this.#files.remove({ name, file: file?.file });
    }
    this.#spares.forgetFailure();
  }

  /** Never written or flushed again, and deleted when nothing in front of the failed write is needed. */
  #abandon(segment: OwnSegment): void {
    this.#counts.abandonedSegments += 1;
    this.#files.close(segment.file.file);
    if (segment.count > 0) this.#state.retire(segment, false);
    else {
      this.#state.current = undefined;
      this.#files.remove({ name: segment.file.name });
    }
  }

  #startFailing(cause: unknown): void {
    this.#isFailing = true;
    this.#repairIsDue = true;
    this.#failure = cause;
    for (const { reject } of this.#queue.splice(0)) reject(writeFailed(cause));
    if (this.#isOpening) this.#waiters.rejectAll(writeFailed(cause));
  }

  /** Writes the record that makes failed frames void; after that the log accepts again. */
  async #repair(): Promise<void> {
    this.#repairIsDue = false;
    try {
      await this.#attempt(undefined);
    } catch {
      this.#retryLater();
    }
  }

  #retryLater(): void {
    if (this.#isClosed) return;
    this.#retryTimer ??= this.#clock.setTimeout(() => {
      this.#retryTimer = undefined;
      this.#spares.forgetFailure();
      this.#repairIsDue = this.#isFailing;
      this.#wake();
    }, this.#options.retryMs);
  }

  #place(size: number, claim: Claim): Place {
    return placeFor({ size, claim, ...this.#situation() });
  }

  #situation(): Situation {
    return {
      room: this.#state.room,
      spares: this.#spares.count,
      isMaking: this.#spares.isMaking,
      mayMake: this.#spares.failure === undefined,
      segments: this.#segments(),
      maxSegments: this.#options.maxSegments,
    };
  }

  #makeSpares(): void {
    if (this.#spares.failure !== undefined) this.#retryLater();
    else if (this.accepting && this.#spares.count < wantedSpares && !this.#spares.isMaking) {
      if (this.#segments() < this.#options.maxSegments) void this.#spares.make();
    }
  }

  #segments(): number {
    return this.#state.segments + this.#spares.count + (this.#spares.isMaking ? 1 : 0);
  }
}

function noMatter(): void {}
