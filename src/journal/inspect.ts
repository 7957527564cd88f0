/** Looks at a log without its lock and without touching it: for `doctor` and dry runs. */
import { type ReadLog, type Recovery, readLog, recoveredFrame } from "./read-log.ts";
import type { SegmentFiles } from "./segment-files.ts";

export interface InspectedSegment {
  readonly name: string;
  readonly bytes: number;
  /** `undefined` where no header can be read. */
  readonly generation: bigint | undefined;
  /** Valid records of any kind. */
  readonly records: number;
  /** Frames that some volume still needs. */
  readonly frames: number;
  /** In use, done with, or without a header. */
  readonly state: "live" | "free" | "blank";
}

export interface Inspection {
  /** Empty when there is no journal. */
  readonly id: string;
  readonly starts: bigint;
  readonly recovery: Recovery;
  readonly segments: readonly InspectedSegment[];
}

/** @throws {JournalError} `ERR_JOURNAL_VERSION`; the errno error of what could not be read */
export function inspectLog(files: SegmentFiles): Inspection {
  let log = readLog(files);
  // A segment that is used again while it is read looks damaged, but not twice.
  if (log.replay.damage.length > 0) log = readLog(files);
  const { id = "", starts, frames, marks, damage } = log.replay;
  const recovered = frames.map((frame) => recoveredFrame(files, frame));
  return { id, starts, recovery: { frames: recovered, marks, damage }, segments: inspected(log) };
}

function inspected({ found, replay }: ReadLog): InspectedSegment[] {
  return found.map(({ name, bytes, scan }) => {
    const live = replay.live.find((segment) => segment.name === name);
    const isRead = scan.state === "segment";
    return {
      ...{ name, bytes },
      generation: isRead ? scan.header.generation : undefined,
      records: isRead ? scan.records.length : 0,
      frames: live?.frames.length ?? 0,
      state: live ? "live" : isRead ? "free" : "blank",
    };
  });
}
