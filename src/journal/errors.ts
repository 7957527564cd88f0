/**
 * The one error class of this room. `cause` keeps the error of the disk, `errno` its name.
 */
import { errnoOf, optionChecks } from "../system/index.ts";

export type JournalErrorCode =
  /** An option or argument was of the wrong type or out of range. */
  | "ERR_JOURNAL_OPTION"
  /** No room is left for new frames, or none can be made; nothing was written. */
  | "ERR_JOURNAL_FULL"
  /** One frame is larger than a segment can hold. */
  | "ERR_JOURNAL_FRAME_TOO_LARGE"
  /** The disk refused the frame, in a second segment too, or the log has not recovered from that yet. */
  | "ERR_JOURNAL_WRITE_FAILED"
  /** Another process, or this one, has the journal open. */
  | "ERR_JOURNAL_LOCKED"
  /** A segment was written by a version that this one does not understand; it was left alone. */
  | "ERR_JOURNAL_VERSION"
  /** The directory or a segment could not be made, read or written while opening. */
  | "ERR_JOURNAL_OPEN_FAILED"
  /** Some of the log cannot be trusted; its segments stay until someone has looked. */
  | "ERR_JOURNAL_DAMAGED"
  /** The journal was closed before the call, or before what it waited for. */
  | "ERR_JOURNAL_CLOSED";

/** Says what failed, to what, and what it means. */
export class JournalError extends Error {
  override readonly name = "JournalError";
  readonly code: JournalErrorCode;
  /** Name of the original errno, such as `"ENOSPC"`, when there was one. */
  readonly errno: string | undefined;

  constructor(code: JournalErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.errno = errnoOf(options?.cause);
  }
}

/** The checks of this room's options and arguments. */
export const { wholeNumber, refusal } = optionChecks(
  (text) => new JournalError("ERR_JOURNAL_OPTION", text),
);

export function closedError(): JournalError {
  return new JournalError("ERR_JOURNAL_CLOSED", "the journal is closed");
}

export function fullError(cause: unknown): JournalError {
  return cause === undefined
    ? new JournalError("ERR_JOURNAL_FULL", "every segment of the journal is in use")
    : new JournalError("ERR_JOURNAL_FULL", "no further segment could be made", { cause });
}

export function writeFailed(cause: unknown): JournalError {
  const text = "the disk refuses the journal's writes; nothing of this frame counts";
  return new JournalError("ERR_JOURNAL_WRITE_FAILED", text, { cause });
}

export function tooManyVolumes(count: number): JournalError {
  const text = `records of ${count} volumes leave no room in a segment; make segmentBytes larger`;
  return new JournalError("ERR_JOURNAL_OPTION", text);
}

export function tooLarge(size: number, most: number): JournalError {
  const text = `the frame takes ${size} octets, a segment has room for ${most}`;
  return new JournalError("ERR_JOURNAL_FRAME_TOO_LARGE", text);
}
