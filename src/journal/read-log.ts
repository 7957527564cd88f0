/** Reads a log from the disk without touching it: each segment on its own, one in memory at a time. */

import { type FoundFrame, type FoundSegment, type Replay, replay } from "./contents.ts";
import { JournalError } from "./errors.ts";
import type { Lsn } from "./format.ts";
import { headBytes, readRecord, recordBytes } from "./format.ts";
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
   * @throws {JournalError} `ERR_JOURNAL_DAMAGED` when it is not there as it was, or cannot be read.
   */
  read(): Promise<Uint8Array>;
}

export interface Recovery {
  /** Whole frames that are not void and that some volume still needs, in the order of their numbers. */
  readonly frames: readonly RecoveredFrame[];
  readonly marks: ReadonlyMap<string, Marks>;
  /** What is wrong with the log, in plain words. A torn tail is not: nobody was told of what it held. */
  readonly damage: readonly string[];
}

export interface ReadLog {
  readonly found: readonly FoundSegment[];
  readonly replay: Replay;
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
        `${name} in ${files.directory} has format version ${scan.version}, which this version of Postbag does not understand; use the one that wrote it`,
      );
    }
    return [{ name, bytes: bytes.length, scan }];
  });
  files.forget();
  return { found, replay: replay(found) };
}

/** One that is gone since it was listed was not needed by the process that has the journal open. */
function readIfThere(files: SegmentFiles, name: string): Buffer | undefined {
  try {
    return files.read(name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
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
    `a frame of ${segment} at ${at} cannot be read as it was found`,
    cause === undefined ? {} : { cause },
  );
}
