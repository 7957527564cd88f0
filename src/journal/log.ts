/**
 * The writer of the log: one record after another, one write in flight.
 *
 * Record n+1 is written only after the write of record n has returned in full, because of two
 * synchronous writes under way the later may reach the disk first, and a cut would lose an acknowledged
 * record behind a torn one. A write that fails is never repeated in its segment: the page cache shows
 * what the disk lacks, and a later flush says that all is well.
 *
 * Source: docs/durability.md.
 */
import { randomBytes } from "node:crypto";
import type { Clock, FileSystem } from "../system/index.ts";
import { JournalError } from "./errors.ts";
import {
  encodeRecord,
  type Lsn,
  lengthOf,
  lsnOf,
  randomBytesPerSegment,
  recordBytes,
} from "./format.ts";
import { encodeInfo, isFinished, type ListedSegment, laterMarks, type Marks } from "./info.ts";
import { type Claim, type Place, placeFor } from "./place.ts";
import type { SegmentFile, SegmentFiles } from "./segment-files.ts";

/** A segment this process writes into. */
interface OwnSegment {
  readonly file: SegmentFile;
  readonly generation: bigint;
  readonly random: Uint8Array;
  /** Where the next record goes. */
  position: number;
  /** The count of the next record. */
  count: number;
  /** The highest number for each volume that its frames are for. */
  readonly highest: Map<string, Lsn>;
}

/** A segment that is not written into any more, but may still be needed. */
export interface OlderSegment extends ListedSegment {
  readonly name: string;
  /** Present if it may be used again: made by this process, and no write into it has failed. */
  readonly file?: SegmentFile | undefined;
  readonly highest: ReadonlyMap<string, Lsn>;
  /** Stays until {@link Log.letGo}, whatever the marks say. */
  readonly isKept: boolean;
  /** Does not count against `maxSegments`: nobody can say when it will be let go. */
  readonly isDamaged: boolean;
}

export interface LogOptions {
  readonly id: string;
  readonly starts: bigint;
  readonly marks: ReadonlyMap<string, Marks>;
  readonly older: readonly OlderSegment[];
  readonly highestGeneration: bigint;
  readonly highestLsn: Lsn;
  readonly segmentBytes: number;
  readonly maxSegments: number;
  readonly retryMs: number;
}

export interface NewFrame {
  readonly payload: readonly Uint8Array[];
  readonly volumes: readonly string[];
  /** The number of the frame this one is a copy of. */
  readonly copyOf?: Lsn;
  readonly claim: Claim;
}

interface Waiting extends NewFrame {
  readonly resolve: (where: Written) => void;
  readonly reject: (error: JournalError) => void;
}

export interface Written {
  readonly lsn: Lsn;
  readonly segment: string;
  readonly at: number;
  /** Octets between its head and its payload. */
  readonly infoBytes: number;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: JournalError) => void;
}

export interface LogStats {
  readonly segments: number;
  readonly spareSegments: number;
  readonly waitingFrames: number;
  readonly writes: number;
  readonly frames: number;
  readonly writtenBytes: number;
  /** Octets of the log that some volume may still need: its backlog. */
  readonly pendingBytes: number;
  /** Segments given up because a write into them failed. */
  readonly abandonedSegments: number;
}

/** Spares kept ready: the reserved one, and one to go on with. */
const wantedSpares = 2;

export class Log {
  readonly #files: SegmentFiles;
  readonly #fileSystem: FileSystem;
  readonly #clock: Clock;
  readonly #options: LogOptions;
  #marks: Map<string, Marks>;
  #writtenMarks: ReadonlyMap<string, Marks>;
  #generation: bigint;
  #highestLsn: Lsn;
  #current: OwnSegment | undefined;
  #older: OlderSegment[];
  #spares: SegmentFile[] = [];
  #making: Promise<void> | undefined;
  #makeFailure: unknown;
  readonly #queue: Waiting[] = [];
  #waiters: Waiter[] = [];
  #marksAreDue = false;
  #buffer = Buffer.alloc(0);
  #running: Promise<void> | undefined;
  /** A second write failed: before anything else a record must say which frames are void. */
  #isFailing = false;
  #repairIsDue = false;
  #failure: unknown;
  #retryTimer: unknown;
  #marksTimer: unknown;
  /** Until the log has been written down: whoever opens it waits for no disk to get better. */
  #isOpening = true;
  #isClosed = false;
  #writes = 0;
  #frames = 0;
  #writtenBytes = 0;
  #abandoned = 0;

  constructor(files: SegmentFiles, fileSystem: FileSystem, clock: Clock, options: LogOptions) {
    this.#files = files;
    this.#fileSystem = fileSystem;
    this.#clock = clock;
    this.#options = options;
    this.#marks = new Map(options.marks);
    this.#writtenMarks = new Map(options.marks);
    this.#generation = options.highestGeneration;
    this.#highestLsn = options.highestLsn;
    this.#older = [...options.older];
  }

  get accepting(): boolean {
    return !this.#isFailing && !this.#isClosed;
  }

  get highestLsn(): Lsn {
    return this.#highestLsn;
  }

  get marks(): ReadonlyMap<string, Marks> {
    return this.#marks;
  }

  /** Octets left for frames of new mail. */
  get freeBytes(): number {
    const fresh = this.#freshRoom([]);
    const makeable =
      this.#makeFailure === undefined
        ? Math.max(0, this.#options.maxSegments - this.#segments())
        : 0;
    const ahead = this.#spares.length + (this.#making === undefined ? 0 : 1) + makeable;
    if (ahead === 0 || !this.accepting) return 0;
    return this.#room() + (ahead - 1) * fresh;
  }

  /** Octets of a record that a fresh segment can take. */
  #freshRoom(volumes: readonly string[]): number {
    return this.#options.segmentBytes - recordBytes(this.#info(volumes, []).length + 64, 0);
  }

  stats(): LogStats {
    return {
      segments: this.#segments(),
      spareSegments: this.#spares.length,
      waitingFrames: this.#queue.length,
      writes: this.#writes,
      frames: this.#frames,
      writtenBytes: this.#writtenBytes,
      pendingBytes:
        this.#older.length * this.#options.segmentBytes + (this.#current?.position ?? 0),
      abandonedSegments: this.#abandoned,
    };
  }

  /** Writes one frame. @throws JournalError `_CLOSED`, `_WRITE_FAILED`, `_FULL`, `_FRAME_TOO_LARGE` */
  append(frame: NewFrame): Promise<Written> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      if (this.#isFailing) return reject(writeFailed(this.#failure));
      const size = this.#sizeOf(frame);
      const most = this.#freshRoom(frame.volumes);
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
    const merged = laterMarks(this.#marks.get(volume), marks);
    const room = this.#options.segmentBytes / 4;
    if (!this.#marks.has(volume) && this.#info([volume, volume], []).length > room) {
      return Promise.reject(tooManyVolumes(this.#marks.size));
    }
    this.#marks.set(volume, merged);
    const written = this.#writtenMarks.get(volume);
    if (written?.durable === merged.durable && written.published === merged.published) {
      return Promise.resolve();
    }
    return this.#nextRecord(withinMs);
  }

  /** Has a record written that says nothing new but how things stand. */
  writeState(): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    return this.#nextRecord(0);
  }

  /** From now on what fails is tried again, and marks wait for that. */
  opened(): void {
    this.#isOpening = false;
  }

  /** Lets older segments go, once the marks have passed their frames. */
  letGo(which: (segment: OlderSegment) => boolean, hasNothing = false): Promise<void> {
    this.#older = this.#older.map((segment) =>
      which(segment)
        ? { ...segment, isKept: false, highest: hasNothing ? new Map() : segment.highest }
        : segment,
    );
    return this.writeState();
  }

  /** Writes what is waiting, where the disk lets it, and closes every file. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#waiters.length > 0) this.#marksAreDue = true;
    this.#clock.clearTimeout(this.#marksTimer);
    this.#wake();
    while (this.#running !== undefined) await this.#running;
    await this.#making;
    this.#clock.clearTimeout(this.#retryTimer);
    for (const { reject } of [...this.#queue.splice(0), ...this.#waiters.splice(0)]) {
      reject(closedError());
    }
    if (this.#current) this.#files.close(this.#current.file.file);
    for (const { file } of this.#older) if (file) this.#files.close(file.file);
    for (const { file } of this.#spares) this.#files.close(file);
  }

  #nextRecord(withinMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (withinMs <= 0) this.#marksAreDue = true;
      else {
        this.#marksTimer ??= this.#clock.setTimeout(() => {
          this.#marksTimer = undefined;
          this.#marksAreDue = this.#waiters.length > 0;
          this.#wake();
        }, withinMs);
      }
      this.#wake();
    });
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
    const place = head && this.#place(this.#sizeOf(head), head.claim);
    if (head && (place === "here" || place === "next")) return () => this.#writeFrame();
    if (head && place === "full") return async () => this.#refuse();
    // A frame that waits for room must not hold up the marks that make it.
    if (this.#marksAreDue || (head && this.#waiters.length > 0)) {
      const marksPlace = this.#place(this.#marksBytes(), "must");
      if (marksPlace === "here" || marksPlace === "next") return () => this.#writeMarks();
      if (marksPlace === "wait") return () => this.#made();
      if (this.#isOpening) this.#giveUp(fullError(this.#makeFailure));
      else this.#retryLater();
    }
    if (place === "wait") return () => this.#made();
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

  async #writeMarks(): Promise<void> {
    // A failure leaves the waiters waiting: what they say stays true, and is written in time.
    await this.#put(undefined).catch(() => undefined);
  }

  #refuse(): void {
    this.#queue.shift()!.reject(fullError(this.#makeFailure));
  }

  /** Writes a record; if that fails once more in a new segment; if that fails too, stops accepting. */
  async #put(frame: Waiting | undefined): Promise<Written> {
    const claim = frame?.claim ?? "must";
    for (const isLast of [false, true]) {
      try {
        return await this.#write(await this.#segmentFor(frame, claim), frame);
      } catch (error) {
        // Refused before anything was written: nothing is in doubt.
        if (!isLast && error instanceof JournalError) throw error;
        if (!isLast) continue;
        this.#startFailing(error);
        throw writeFailed(error);
      }
    }
    throw new Error("unreachable");
  }

  async #segmentFor(frame: Waiting | undefined, claim: Claim): Promise<OwnSegment> {
    for (;;) {
      const size = frame ? this.#sizeOf(frame) : this.#marksBytes();
      const place = this.#place(size, claim);
      if (place === "full") throw fullError(this.#makeFailure);
      if (place === "here") return this.#current!;
      if (place === "next") return this.#next();
      await this.#made();
    }
  }

  #next(): OwnSegment {
    if (this.#current) this.#retire(this.#current, true);
    this.#generation += 1n;
    const next: OwnSegment = {
      file: this.#spares.shift()!,
      generation: this.#generation,
      random: randomBytes(randomBytesPerSegment),
      position: 0,
      count: 0,
      highest: new Map(),
    };
    this.#current = next;
    this.#makeSpares();
    return next;
  }

  async #write(segment: OwnSegment, frame: Waiting | undefined): Promise<Written> {
    const gone = this.#older.filter((older) => this.#isFinished(older));
    const marks = new Map(this.#marks);
    const waiters = this.#waiters;
    this.#waiters = [];
    this.#marksAreDue = false;
    const { bytes, at, lsn, infoBytes } = this.#encode(segment, frame, gone);
    try {
      await this.#fileSystem.writeAt(segment.file.file, bytes, segment.position);
    } catch (error) {
      this.#waiters.unshift(...waiters);
      this.#marksAreDue = this.#waiters.length > 0;
      this.#abandon(segment);
      throw error;
    }
    this.#writes += 1;
    this.#writtenBytes += bytes.length;
    const where = { lsn, segment: segment.file.name, at: segment.position + at, infoBytes };
    segment.position += bytes.length;
    segment.count += 1;
    if (frame) this.#frames += 1;
    if (frame && lsn > this.#highestLsn) this.#highestLsn = lsn;
    for (const volume of frame?.volumes ?? []) {
      const known = segment.highest.get(volume) ?? 0n;
      if (lsn > known) segment.highest.set(volume, lsn);
    }
    this.#writtenMarks = marks;
    this.#release(gone);
    for (const { resolve } of waiters) resolve();
    return where;
  }

  /** Gathers the record, and in front of the first one the segment's header, into one buffer. */
  #encode(
    segment: OwnSegment,
    frame: Waiting | undefined,
    gone: readonly OlderSegment[],
  ): {
    readonly bytes: Buffer;
    readonly at: number;
    readonly lsn: Lsn;
    readonly infoBytes: number;
  } {
    const { generation, random, count } = segment;
    const own = lsnOf(generation, count);
    const lsn = frame?.copyOf ?? own;
    const payload = frame?.payload ?? [];
    const info = this.#info(frame?.volumes ?? [], gone);
    const headerInfo = segment.position === 0 ? this.#info([], gone) : undefined;
    const at = headerInfo ? recordBytes(headerInfo.length, 0) : 0;
    const size = at + recordBytes(info.length, lengthOf(payload));
    if (this.#buffer.length < size) this.#buffer = Buffer.allocUnsafeSlow(size * 2);
    const common = { generation, random, count };
    if (headerInfo) {
      const header = { kind: "header" as const, lsn: own, info: headerInfo, payload: [] };
      encodeRecord(this.#buffer, 0, { ...common, ...header });
    }
    const kind = frame ? ("frame" as const) : ("marks" as const);
    encodeRecord(this.#buffer, at, { ...common, kind, lsn, info, payload });
    return { bytes: this.#buffer.subarray(0, size), at, lsn, infoBytes: info.length };
  }

  #info(volumes: readonly string[], gone: readonly OlderSegment[]): Buffer {
    const { id, starts } = this.#options;
    const listed = without(this.#older, gone);
    return encodeInfo({ id, starts, marks: this.#marks, listed, volumes });
  }

  #isFinished({ isKept, highest }: OlderSegment): boolean {
    return !isKept && [...highest].every(([volume, lsn]) => isFinished(this.#marks, [volume], lsn));
  }

  /** Only after a record on the disk has said that they are not needed. */
  #release(gone: readonly OlderSegment[]): void {
    if (gone.length === 0) return;
    this.#older = without(this.#older, gone);
    for (const { name, file } of gone) {
      const isWanted = this.#segments() < this.#options.maxSegments;
      if (file && isWanted) this.#spares.push(file);
      else this.#files.remove({ name, file: file?.file });
    }
    this.#makeFailure = undefined;
  }

  /** Nothing is written into it any more; later records say where it ends. */
  #retire(segment: OwnSegment, isReusable: boolean): void {
    const { file, generation, count, highest } = segment;
    this.#older.push({
      name: file.name,
      file: isReusable ? file : undefined,
      generation,
      sure: count,
      end: count,
      highest,
      isKept: false,
      isDamaged: false,
    });
    this.#current = undefined;
  }

  /** Never written or flushed again, and deleted when nothing in front of the failed write is needed. */
  #abandon(segment: OwnSegment): void {
    this.#abandoned += 1;
    this.#files.close(segment.file.file);
    if (segment.count > 0) this.#retire(segment, false);
    else {
      this.#current = undefined;
      this.#files.remove({ name: segment.file.name });
    }
  }

  #startFailing(cause: unknown): void {
    this.#isFailing = true;
    this.#repairIsDue = true;
    this.#failure = cause;
    for (const { reject } of this.#queue.splice(0)) reject(writeFailed(cause));
    if (this.#isOpening) this.#giveUp(writeFailed(cause));
  }

  #giveUp(error: JournalError): void {
    this.#marksAreDue = false;
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }

  /** Writes the record that makes failed frames void; after that the log accepts again. */
  async #repair(): Promise<void> {
    this.#repairIsDue = false;
    try {
      await this.#write(await this.#segmentFor(undefined, "must"), undefined);
      this.#isFailing = false;
      this.#failure = undefined;
    } catch {
      this.#retryLater();
    }
  }

  #retryLater(): void {
    if (this.#isClosed) return;
    this.#retryTimer ??= this.#clock.setTimeout(() => {
      this.#retryTimer = undefined;
      this.#makeFailure = undefined;
      this.#repairIsDue = this.#isFailing;
      this.#wake();
    }, this.#options.retryMs);
  }

  #place(size: number, claim: Claim): Place {
    return placeFor({
      size,
      claim,
      room: this.#room(),
      spares: this.#spares.length,
      isMaking: this.#making !== undefined,
      mayMake: this.#makeFailure === undefined,
      segments: this.#segments(),
      maxSegments: this.#options.maxSegments,
    });
  }

  /** Resolves when a spare has been made, or could not be. */
  async #made(): Promise<void> {
    this.#making ??= this.#make();
    await this.#making;
  }

  #makeSpares(): void {
    if (
      this.#making !== undefined ||
      this.#makeFailure !== undefined ||
      this.#isClosed ||
      this.#isFailing
    )
      return;
    const isWanted = this.#spares.length < wantedSpares;
    if (isWanted && this.#segments() < this.#options.maxSegments) this.#making = this.#make();
  }

  async #make(): Promise<void> {
    try {
      this.#spares.push(await this.#files.make());
    } catch (error) {
      this.#makeFailure = error;
      this.#retryLater();
    } finally {
      this.#making = undefined;
      this.#wake();
    }
  }

  /** Octets left in the current segment. */
  #room(): number {
    return this.#current ? this.#options.segmentBytes - this.#current.position : 0;
  }

  #segments(): number {
    const older = this.#older.filter(({ isDamaged }) => !isDamaged).length;
    return (
      older + this.#spares.length + (this.#current ? 1 : 0) + (this.#making === undefined ? 0 : 1)
    );
  }

  /** Never too little: the list may shrink until it is written, and grows by one with a new segment. */
  #sizeOf({ payload, volumes }: NewFrame): number {
    return recordBytes(this.#info(volumes, []).length + 16, lengthOf(payload));
  }

  #marksBytes(): number {
    return recordBytes(this.#info([], []).length + 16, 0);
  }
}

/** By generation: an entry may have been replaced while a write was under way. */
function without(segments: readonly OlderSegment[], gone: readonly OlderSegment[]): OlderSegment[] {
  return segments.filter(
    ({ generation }) => !gone.some((segment) => segment.generation === generation),
  );
}

function closedError(): JournalError {
  return new JournalError("ERR_JOURNAL_CLOSED", "the journal is closed");
}

function fullError(cause: unknown): JournalError {
  return cause === undefined
    ? new JournalError("ERR_JOURNAL_FULL", "every segment of the journal is in use")
    : new JournalError("ERR_JOURNAL_FULL", "no further segment could be made", { cause });
}

function writeFailed(cause: unknown): JournalError {
  const text = "the disk refuses the journal's writes; nothing of this frame counts";
  return new JournalError("ERR_JOURNAL_WRITE_FAILED", text, { cause });
}

function tooManyVolumes(count: number): JournalError {
  const text = `records of ${count} volumes leave no room in a segment; make segmentBytes larger`;
  return new JournalError("ERR_JOURNAL_OPTION", text);
}

function tooLarge(size: number, most: number): JournalError {
  const text = `the frame takes ${size} octets, a segment has room for ${most}`;
  return new JournalError("ERR_JOURNAL_FRAME_TOO_LARGE", text);
}
