/**
 * What the log knows of itself while it is written: the segments in use, how far each volume has come,
 * and how that and a frame become the octets of the next write.
 */
import { randomBytes } from "node:crypto";
import {
  encodeRecord,
  type Lsn,
  lengthOf,
  lsnOf,
  randomBytesPerSegment,
  recordBytes,
} from "./format.ts";
import { encodeInfo, isFinished, type ListedSegment, type Marks } from "./info.ts";
import type { Claim } from "./place.ts";
import type { SegmentFile } from "./segment-files.ts";

/** A segment this process writes into. */
export interface OwnSegment {
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
  /** Stays until {@link LogState.letGo}, whatever the marks say. */
  readonly isKept: boolean;
  /** Does not count against `maxSegments`: nobody can say when it will be let go. */
  readonly isDamaged: boolean;
}

export interface NewFrame {
  readonly payload: readonly Uint8Array[];
  readonly volumes: readonly string[];
  /** The number of the frame this one is a copy of. */
  readonly copyOf?: Lsn;
  readonly claim: Claim;
}

/** Where a record was written. */
export interface Written {
  readonly lsn: Lsn;
  readonly segment: string;
  readonly at: number;
  /** Octets between its head and its payload. */
  readonly infoBytes: number;
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

/** One write, and what it will have changed. */
export interface Encoded {
  readonly bytes: Buffer;
  readonly lsn: Lsn;
  /** Where the record begins in the write: behind the header, in the first one of a segment. */
  readonly at: number;
  readonly infoBytes: number;
  /** Segments that the record does not list any more. */
  readonly gone: readonly OlderSegment[];
}

export interface LogStateOptions {
  readonly id: string;
  readonly starts: bigint;
  readonly marks: ReadonlyMap<string, Marks>;
  readonly older: readonly OlderSegment[];
  readonly highestGeneration: bigint;
  readonly highestLsn: Lsn;
  readonly segmentBytes: number;
}

export class LogState {
  readonly marks: Map<string, Marks>;
  highestLsn: Lsn;
  current: OwnSegment | undefined;
  older: OlderSegment[];
  readonly #options: LogStateOptions;
  #generation: bigint;
  /** Used for every write: only one is on its way. */
  #buffer = Buffer.alloc(0);

  constructor(options: LogStateOptions) {
    this.#options = options;
    this.marks = new Map(options.marks);
    this.highestLsn = options.highestLsn;
    this.older = [...options.older];
    this.#generation = options.highestGeneration;
  }

  /** Octets left in the current segment. */
  get room(): number {
    return this.current ? this.#options.segmentBytes - this.current.position : 0;
  }

  /** Segments that count against the limit, without the spares. */
  get segments(): number {
    const older = this.older.filter(({ isDamaged }) => !isDamaged).length;
    return older + (this.current ? 1 : 0);
  }

  get pendingBytes(): number {
    return this.older.length * this.#options.segmentBytes + (this.current?.position ?? 0);
  }

  /** Octets of a record that a fresh segment can take. */
  freshRoom(volumes: readonly string[]): number {
    return this.#options.segmentBytes - recordBytes(this.#info(volumes, []).length + 64, 0);
  }

  /** Whether records still leave room for payloads with the marks of one volume more. */
  hasRoomFor(volume: string): boolean {
    const isKnown = this.marks.has(volume);
    return isKnown || this.#info([volume, volume], []).length <= this.#options.segmentBytes / 4;
  }

  /** Octets of the next record, never too few: the list of segments may grow by one until then. */
  sizeOf(frame: Pick<NewFrame, "payload" | "volumes"> | undefined): number {
    const info = this.#info(frame?.volumes ?? [], []).length + 16;
    return recordBytes(info, lengthOf(frame?.payload ?? []));
  }

  /** Goes on in another segment, with a generation of its own. */
  begin(file: SegmentFile): OwnSegment {
    if (this.current) this.retire(this.current, true);
    this.#generation += 1n;
    this.current = {
      file,
      generation: this.#generation,
      random: randomBytes(randomBytesPerSegment),
      position: 0,
      count: 0,
      highest: new Map(),
    };
    return this.current;
  }

  /** Gathers the record, and in front of the first one the segment's header, into one buffer. */
  encode(segment: OwnSegment, frame: NewFrame | undefined): Encoded {
    const gone = this.older.filter((older) => this.#isFinished(older));
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
    return { bytes: this.#buffer.subarray(0, size), at, lsn, infoBytes: info.length, gone };
  }

  /** Notes that a write has returned. */
  written(segment: OwnSegment, frame: NewFrame | undefined, { bytes, lsn }: Encoded): void {
    segment.position += bytes.length;
    segment.count += 1;
    if (frame && lsn > this.highestLsn) this.highestLsn = lsn;
    for (const volume of frame?.volumes ?? []) {
      const known = segment.highest.get(volume) ?? 0n;
      if (lsn > known) segment.highest.set(volume, lsn);
    }
  }

  /** Nothing is written into it any more; later records say where it ends. */
  retire(segment: OwnSegment, isReusable: boolean): void {
    const { file, generation, count, highest } = segment;
    this.older.push({
      name: file.name,
      file: isReusable ? file : undefined,
      generation,
      sure: count,
      end: count,
      highest,
      isKept: false,
      isDamaged: false,
    });
    this.current = undefined;
  }

  /** Forgets segments that a record on the disk does not list any more. */
  release(gone: readonly OlderSegment[]): void {
    this.older = without(this.older, gone);
  }

  /** Lets older segments go, once the marks have passed their frames, or at once if there are none. */
  letGo(which: (segment: OlderSegment) => boolean, hasNothing: boolean): void {
    this.older = this.older.map((segment) =>
      which(segment)
        ? { ...segment, isKept: false, highest: hasNothing ? new Map() : segment.highest }
        : segment,
    );
  }

  #info(volumes: readonly string[], gone: readonly OlderSegment[]): Buffer {
    const { id, starts } = this.#options;
    const listed = without(this.older, gone);
    return encodeInfo({ id, starts, marks: this.marks, listed, volumes });
  }

  #isFinished({ isKept, highest }: OlderSegment): boolean {
    return !isKept && [...highest].every(([volume, lsn]) => isFinished(this.marks, [volume], lsn));
  }
}

/** By generation: an entry may have been replaced while a write was under way. */
function without(segments: readonly OlderSegment[], gone: readonly OlderSegment[]): OlderSegment[] {
  return segments.filter(
    ({ generation }) => !gone.some((segment) => segment.generation === generation),
  );
}
