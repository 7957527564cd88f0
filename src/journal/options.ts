/** The options of a journal, checked at the door. */
import {
  type Clock,
  type FileSystem,
  invariant,
  nodeFileSystem,
  systemClock,
} from "../system/index.ts";
import { refusal, wholeNumber } from "./errors.ts";
import { blockBytes } from "./format.ts";
import { listedSegmentBytes } from "./info.ts";

export interface JournalOptions {
  /**
   * Directory of the segments; made if missing, with every missing parent. For the journal alone.
   */
  readonly directory: string;
  /** @defaultValue the machine's own */
  readonly fileSystem?: FileSystem | undefined;
  /** @defaultValue the machine's own */
  readonly clock?: Clock | undefined;
  /**
   * Size of a segment in bytes, a multiple of 4096 from 16 KiB to 1 GiB. A frame cannot be larger.
   * @defaultValue 33554432 (32 MiB)
   */
  readonly segmentBytes?: number | undefined;
  /**
   * Maximum number of segments on the disk, the reserved spare included, from 3 to `segmentBytes` /
   * 64. It bounds the backlog. Recovery may need one more for a while.
   * @defaultValue 8
   */
  readonly maxSegments?: number | undefined;
  /** Pause before a disk that refused writes is tried again, in milliseconds. @defaultValue 1000 */
  readonly retryMs?: number | undefined;
  /**
   * Called when the journal stops accepting frames, after a second failed write, and when it
   * accepts again. An error that it throws is an uncaught exception of the process.
   */
  readonly onAccepting?: ((isAccepting: boolean) => void) | undefined;
}

/** The options after the check, with every default filled in. */
export interface JournalSettings {
  readonly directory: string;
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly segmentBytes: number;
  readonly maxSegments: number;
  readonly retryMs: number;
  readonly onAccepting: JournalOptions["onAccepting"];
}

export const DEFAULT_SEGMENT_BYTES = 32 * 1024 * 1024;
export const DEFAULT_MAX_SEGMENTS = 8;
const defaultRetryMs = 1000;

const minSegmentBytes = 16 * 1024;
const maxSegmentBytes = 1024 ** 3;
/** The current segment, the reserved spare, and one to continue with. */
const minSegments = 3;
/** Every record lists the segments in use: their maximum leaves three quarters of a segment. */
const bytesPerSegment = 64;

invariant(
  bytesPerSegment === 4 * listedSegmentBytes,
  "the list of segments takes at most a quarter",
);
invariant(
  minSegments <= minSegmentBytes / bytesPerSegment,
  "the smallest segment lists the minimum",
);
invariant(
  DEFAULT_SEGMENT_BYTES % blockBytes === 0 && DEFAULT_MAX_SEGMENTS >= minSegments,
  "the defaults are within their own limits",
);

/** @throws {JournalError} `ERR_JOURNAL_OPTION` */
export function checkedOptions(options: JournalOptions): JournalSettings {
  const { directory, onAccepting } = options;
  const segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT_BYTES;
  const maxSegments = options.maxSegments ?? DEFAULT_MAX_SEGMENTS;
  const retryMs = options.retryMs ?? defaultRetryMs;
  if (typeof directory !== "string" || directory === "" || directory.includes("\0")) {
    throw refusal("directory", "a path", directory);
  }
  const isSize =
    Number.isInteger(segmentBytes) &&
    segmentBytes % blockBytes === 0 &&
    segmentBytes >= minSegmentBytes &&
    segmentBytes <= maxSegmentBytes;
  if (!isSize) {
    throw refusal("segmentBytes", "a multiple of 4096 from 16 KiB to 1 GiB", segmentBytes);
  }
  wholeNumber("maxSegments", maxSegments, minSegments, segmentBytes / bytesPerSegment);
  if (!Number.isFinite(retryMs) || retryMs <= 0) {
    throw refusal("retryMs", "a positive number", retryMs);
  }
  return {
    directory,
    fileSystem: options.fileSystem ?? nodeFileSystem,
    clock: options.clock ?? systemClock,
    segmentBytes,
    maxSegments,
    retryMs,
    onAccepting,
  };
}
