/**
 * The state of a log while it is written: its segments, the marks of each volume, and the encoding
 * of the next write from these and a frame.
 *
 * Invariants: marks never go back; a segment has a generation that no segment had before.
 */
import { randomBytes } from "node:crypto";
import { invariant } from "../system/index.ts";
import {
  encodeRecord,
  type Lsn,
  lengthOf,
  lsnOf,
  randomBytesPerSegment,
  recordBytes,
} from "./format.ts";
import {
  encodeInfo,
  isFinished,
  type ListedSegment,
  laterMarks,
  listedSegmentBytes,
  type Marks,
} from "./info.ts";
import type { Claim } from "./place.ts";
import type { SegmentFile } from "./segment-files.ts";

/** The segment into which this process writes. */
export interface OwnSegment {
  readonly file: SegmentFile;
  readonly generation: bigint;
  readonly random: Uint8Array;
  /** Position of the next record. */
  position: number;
  /** The count of the next record. */
  count: number;
  /** For each volume the highest number of a frame that it needs. */
  readonly highest: Map<string, Lsn>;
}

/** A segment that is complete but may still be needed. */
export interface OlderSegment extends ListedSegment {
  readonly name: string;
  /** Present if it may be used again: made by this process, and no write into it failed. */
  readonly file?: SegmentFile | undefined;
  readonly highest: ReadonlyMap<string, Lsn>;
  /** Stays until {@link LogState.unpin}, whatever the marks are. */
  readonly isPinned: boolean;
  /** Does not count against `maxSegments`: it stays for an unknown time. */
  readonly isDamaged: boolean;
}

export interface NewFrame {
  readonly payload: readonly Uint8Array[];
  readonly volumes: readonly string[];
  /** The number of the frame this one is a copy of. */
  readonly copyOf?: Lsn | undefined;
  readonly claim: Claim;
}

/** Where a record was written. */
export interface Written {
  readonly lsn: Lsn;
  readonly segment: string;
  readonly at: number;
  /** Bytes between its head and its payload. */
  readonly infoBytes: number;
}

export interface LogStats {
  readonly segments: number;
  readonly spareSegments: number;
  readonly waitingFrames: number;
  readonly writes: number;
  readonly frames: number;
  readonly writtenBytes: number;
  /** Bytes of the log that some volume may still need: the backlog. */
  readonly pendingBytes: number;
  /** Segments abandoned because a write into them failed. */
  readonly abandonedSegments: number;
}

/** One write, and the changes to make once it has returned. */
interface Encoded {
  readonly bytes: Buffer;
  readonly lsn: Lsn;
  /** Position of the record in the write: behind the header, in the first write of a segment. */
  readonly at: number;
  readonly infoBytes: number;
  /** Segments that the record no longer lists. */
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
  /** Used for every write: only one is in flight. */
  #buffer = Buffer.alloc(0);

  constructor(options: LogStateOptions) {
    this.#options = options;
    this.marks = new Map(options.marks);
    this.highestLsn = options.highestLsn;
    this.older = [...options.older];
    this.#generation = options.highestGeneration;
  }

  /** Bytes left in the current segment. */
  get roomBytes(): number {
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

  /** Maximum bytes of a record in an empty segment. */
  freshRoom(volumes: readonly string[]): number {
    return this.#options.segmentBytes - recordBytes(this.#info(volumes, []).length + 64, 0);
  }

  /** Whether records still leave room for payloads with the marks of one volume more. */
  hasRoomFor(volume: string): boolean {
    const isKnown = this.marks.has(volume);
    return isKnown || this.#info([volume, volume], []).length <= this.#options.segmentBytes / 4;
  }

  /** Advances the marks of a volume and returns them. */
  mark(volume: string, marks: Partial<Marks>): Marks {
    const known = this.marks.get(volume);
    const merged = laterMarks(known, marks);
    invariant(
      !known || (merged.durable >= known.durable && merged.published >= known.published),
      "marks never go back",
    );
    this.marks.set(volume, merged);
    return merged;
  }

  /** Maximum bytes of the next record: the list of segments may grow by one until then. */
  sizeOf(frame: Pick<NewFrame, "payload" | "volumes"> | undefined): number {
    const info = this.#info(frame?.volumes ?? [], []).length + listedSegmentBytes;
    return recordBytes(info, lengthOf(frame?.payload ?? []));
  }

  /** Continues in another segment, with a new generation. */
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

  /**
   * Encodes the record, and in front of the first one the header of the segment, into one buffer.
   */
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

  /** Accounts for a write that has returned. */
  written(segment: OwnSegment, frame: NewFrame | undefined, { bytes, lsn }: Encoded): void {
    segment.position += bytes.length;
    segment.count += 1;
    if (frame && lsn > this.highestLsn) this.highestLsn = lsn;
    for (const volume of frame?.volumes ?? []) {
      const known = segment.highest.get(volume) ?? 0n;
      if (lsn > known) segment.highest.set(volume, lsn);
    }
  }

  /** Ends the current segment; later records list where it ends. */
  retire(segment: OwnSegment, isReusable: boolean): void {
    const { file, generation, count, highest } = segment;
    this.older.push({
      name: file.name,
      file: isReusable ? file : undefined,
      generation,
      durableCount: count,
      endCount: count,
      highest,
      isPinned: false,
      isDamaged: false,
    });
    this.current = undefined;
  }

  /** Forgets segments that a record on the disk no longer lists. */
  release(gone: readonly OlderSegment[]): void {
    this.older = without(this.older, gone);
  }

  /**
   * Makes older segments releasable once the marks have passed their frames; at once if `isEmpty`.
   */
  unpin(which: (segment: OlderSegment) => boolean, isEmpty: boolean): void {
    this.older = this.older.map((segment) =>
      which(segment)
        ? { ...segment, isPinned: false, highest: isEmpty ? new Map() : segment.highest }
        : segment,
    );
  }

  #info(volumes: readonly string[], gone: readonly OlderSegment[]): Buffer {
    const { id, starts } = this.#options;
    const listed = without(this.older, gone);
    return encodeInfo({ id, starts, marks: this.marks, listed, volumes });
  }

  #isFinished({ isPinned, highest }: OlderSegment): boolean {
    return (
      !isPinned && [...highest].every(([volume, lsn]) => isFinished(this.marks, [volume], lsn))
    );
  }
}

/** By generation: `unpin` may have replaced a segment's record while a write was in flight. */
function without(segments: readonly OlderSegment[], gone: readonly OlderSegment[]): OlderSegment[] {
  return segments.filter(
    ({ generation }) => !gone.some((segment) => segment.generation === generation),
  );
}
