/** What a journal can be told, checked at the door. */
import { type Clock, type FileSystem, nodeFileSystem, systemClock } from "../system/index.ts";
import { refusal, wholeNumber } from "./errors.ts";
import { blockBytes } from "./format.ts";

export interface JournalOptions {
  /** Where the segments lie; made if missing, with every missing parent. Nothing else belongs there. */
  readonly directory: string;
  /** @defaultValue the machine's own */
  readonly fileSystem?: FileSystem;
  /** @defaultValue the machine's own */
  readonly clock?: Clock;
  /**
   * Size of a segment in octets, a multiple of 4096 from 16 KiB to 1 GiB: a frame cannot be larger.
   * @defaultValue 33554432 (32 MiB)
   */
  readonly segmentBytes?: number;
  /**
   * Most segments on the disk, the reserved spare among them, from 3 to `segmentBytes` / 64: bounds the
   * backlog. What recovery needs may take one more for a while.
   * @defaultValue 8
   */
  readonly maxSegments?: number;
  /** Pause before a disk that refused writes is tried again, in milliseconds. @defaultValue 1000 */
  readonly retryMs?: number;
}

export const DEFAULT_SEGMENT_BYTES = 32 * 1024 * 1024;
export const DEFAULT_MAX_SEGMENTS = 8;
export const DEFAULT_RETRY_MS = 1000;

/** @throws {JournalError} `ERR_JOURNAL_OPTION` */
export function checkedOptions(options: JournalOptions): Required<JournalOptions> {
  const checked = {
    directory: options.directory,
    fileSystem: options.fileSystem ?? nodeFileSystem,
    clock: options.clock ?? systemClock,
    segmentBytes: options.segmentBytes ?? DEFAULT_SEGMENT_BYTES,
    maxSegments: options.maxSegments ?? DEFAULT_MAX_SEGMENTS,
    retryMs: options.retryMs ?? DEFAULT_RETRY_MS,
  };
  const { directory, segmentBytes, maxSegments, retryMs } = checked;
  if (typeof directory !== "string" || directory === "" || directory.includes("\0")) {
    throw refusal("directory", "a path", directory);
  }
  const isSize =
    Number.isInteger(segmentBytes) &&
    segmentBytes % blockBytes === 0 &&
    segmentBytes >= 16 * 1024 &&
    segmentBytes <= 1024 ** 3;
  if (!isSize) {
    throw refusal("segmentBytes", "a multiple of 4096 from 16 KiB to 1 GiB", segmentBytes);
  }
  // Every record lists the segments in use, with 16 octets each.
  wholeNumber("maxSegments", maxSegments, 3, segmentBytes / 64);
  if (!Number.isFinite(retryMs) || retryMs <= 0) {
    throw refusal("retryMs", "a positive number", retryMs);
  }
  return checked;
}
