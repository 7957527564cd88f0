/** The door of the journal: a log of opaque frames, durable by one flush each. Uses system. */
export { JournalError, type JournalErrorCode } from "./errors.ts";
export { generationOf, type Lsn } from "./format.ts";
export type { Marks } from "./info.ts";
export {
  type AppendOptions,
  Journal,
  type MarkOptions,
} from "./journal.ts";
export type { LogStats as JournalStats } from "./log-state.ts";
export { DEFAULT_MAX_SEGMENTS, DEFAULT_SEGMENT_BYTES, type JournalOptions } from "./options.ts";
export type { InspectedSegment, Inspection, RecoveredFrame, Recovery } from "./read-log.ts";
export { countSegments, setSegmentsAside } from "./set-aside.ts";
