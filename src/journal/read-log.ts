/**
 * Reads a log from the disk without changing anything: when a journal is opened, and to inspect one
 * without its lock. Each segment is read on its own, one in memory at a time.
 */
import { errnoOf } from "../system/index.ts";
import { contentsOf, type FoundFrame, type FoundSegment, type LogContents } from "./contents.ts";
import { JournalError } from "./errors.ts";
import { headBytes, type Lsn, readRecord, recordBytes } from "./format.ts";
import type { Marks } from "./info.ts";
import { scanSegment } from "./scan.ts";
import type { SegmentFiles } from "./segment-files.ts";

/** A frame found on the disk when the journal was opened. */
export interface RecoveredFrame {
  readonly lsn: Lsn;
  readonly volumes: readonly string[];
  readonly payloadBytes: number;
  /**
   * Reads the payload again from its segment, and checks it again.
   *
   * @throws {JournalError} `ERR_JOURNAL_DAMAGED` when it has changed or cannot be read.
   */
  read(): Promise<Uint8Array>;
}

export interface Recovery {
  /** Valid frames, not void, that some volume still needs, in the order of their numbers. */
  readonly frames: readonly RecoveredFrame[];
  readonly marks: ReadonlyMap<string, Marks>;
  /** The faults of the log, as text. A torn tail is none: its frames were never acknowledged. */
  readonly damage: readonly string[];
}

interface ReadLog {
  readonly found: readonly FoundSegment[];
  readonly contents: LogContents;
}

/** @throws {JournalError} `ERR_JOURNAL_VERSION` */
export function readLog(files: SegmentFiles): ReadLog {
  const found = files.names().flatMap((name): FoundSegment[] => {
    const bytes = readIfThere(files, name);
    if (bytes === undefined) return [];
    const scan = scanSegment(bytes);
    if (scan.state === "foreign") {
      throw new JournalError(
        "ERR_JOURNAL_VERSION",
        `${name} in ${files.directory} has format version ${scan.version}, which this Postbag does not know; ` +
          "nothing was changed; use the version of Postbag that wrote it",
      );
    }
    return [{ name, bytes: bytes.length, scan }];
  });
  files.forget();
  return { found, contents: contentsOf(found) };
}

/**
 * A segment deleted since it was listed was not needed by the process that has the journal open.
 */
function readIfThere(files: SegmentFiles, name: string): Buffer | undefined {
  try {
    return files.read(name);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

export function recoveredFrame(files: SegmentFiles, frame: FoundFrame): RecoveredFrame {
  const { lsn, volumes, payloadBytes } = frame;
  return { lsn, volumes, payloadBytes, read: async () => readPayload(files, frame) };
}

export function readPayload(files: SegmentFiles, frame: FoundFrame): Uint8Array {
  const { segment, at, infoBytes, payloadBytes, lsn } = frame;
  let cause: unknown;
  try {
    const bytes = files.readPart(segment, at, recordBytes(infoBytes, payloadBytes));
    const record = readRecord(bytes, 0);
    if (record.state === "whole" && record.head.lsn === lsn) {
      const from = headBytes + infoBytes;
      return bytes.subarray(from, from + payloadBytes);
    }
  } catch (error) {
    cause = error;
  }
  throw new JournalError(
    "ERR_JOURNAL_DAMAGED",
    `${segment} lost the frame at ${at} since it was first read; the frame cannot be recovered`,
    cause === undefined ? {} : { cause },
  );
}

export interface InspectedSegment {
  readonly name: string;
  readonly bytes: number;
  /** `undefined` where no header can be read. */
  readonly generation: bigint | undefined;
  /** Valid records of any kind. */
  readonly records: number;
  /** Frames that some volume still needs. */
  readonly frames: number;
  /** Needed, no longer needed, or without a header. */
  readonly state: "live" | "free" | "blank";
}

export interface Inspection {
  /** Empty when there is no journal. */
  readonly id: string;
  readonly starts: bigint;
  readonly recovery: Recovery;
  readonly segments: readonly InspectedSegment[];
}

/**
 * @throws {JournalError} `ERR_JOURNAL_VERSION`; the errno error of the segment that cannot be read
 */
export function inspectLog(files: SegmentFiles): Inspection {
  let log = readLog(files);
  // A segment that is used again while it is read looks damaged, but not twice.
  if (log.contents.damage.length > 0) log = readLog(files);
  const { id = "", starts, frames, marks, damage } = log.contents;
  const recovered = frames.map((frame) => recoveredFrame(files, frame));
  return { id, starts, recovery: { frames: recovered, marks, damage }, segments: inspected(log) };
}

function inspected({ found, contents }: ReadLog): InspectedSegment[] {
  return found.map(({ name, bytes, scan }) => {
    const live = contents.live.find((segment) => segment.name === name);
    const isRead = scan.state === "segment";
    return {
      name,
      bytes,
      generation: isRead ? scan.header.generation : undefined,
      records: isRead ? scan.records.length : 0,
      frames: live?.frames.length ?? 0,
      state: live ? "live" : isRead ? "free" : "blank",
    };
  });
}
