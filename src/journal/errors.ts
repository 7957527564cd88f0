/** The error class of this room. `cause` is the error of the disk, `errno` its name. */
import { errnoOf, optionChecks } from "../system/index.ts";

export type JournalErrorCode =
  /** An option or argument was of the wrong type or out of range. */
  | "ERR_JOURNAL_OPTION"
  /** No segment is left for new frames, and none can be made; nothing was written. */
  | "ERR_JOURNAL_FULL"
  /** One frame is larger than a segment can hold. */
  | "ERR_JOURNAL_FRAME_TOO_LARGE"
  /** The disk refused the frame, in a second segment too, or has not accepted a write since. */
  | "ERR_JOURNAL_WRITE_FAILED"
  /** Another process, or this one, has the journal open. */
  | "ERR_JOURNAL_LOCKED"
  /** A segment was written by an unknown version; it was not changed. */
  | "ERR_JOURNAL_VERSION"
  /** The directory or a segment could not be made, read or written while opening. */
  | "ERR_JOURNAL_OPEN_FAILED"
  /** A part of the log is damaged; its segments stay until an operator decides. */
  | "ERR_JOURNAL_DAMAGED"
  /** The journal was closed before the call, or while the call waited. */
  | "ERR_JOURNAL_CLOSED";

/** An error of the journal: what failed, on what, and the consequence. */
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

const refused = "the frame was not accepted";

export function closedError(): JournalError {
  return new JournalError("ERR_JOURNAL_CLOSED", "the journal is closed; nothing was written");
}

export function fullError(cause: unknown): JournalError {
  return cause === undefined
    ? new JournalError(
        "ERR_JOURNAL_FULL",
        `the journal is full; ${refused}; publish or add segments`,
      )
    : new JournalError("ERR_JOURNAL_FULL", `the journal cannot make a segment; ${refused}`, {
        cause,
      });
}

export function writeFailed(cause: unknown): JournalError {
  const text = `the disk refuses the journal's writes; ${refused}`;
  return new JournalError("ERR_JOURNAL_WRITE_FAILED", text, { cause });
}

export function tooManyVolumes(count: number): JournalError {
  const text = `the journal has no room for the marks of more than ${count} volumes; raise segmentBytes`;
  return new JournalError("ERR_JOURNAL_OPTION", text);
}

export function tooLarge(bytes: number, maxBytes: number): JournalError {
  const text = `the frame of ${bytes} bytes exceeds the ${maxBytes} of a segment; nothing was written`;
  return new JournalError("ERR_JOURNAL_FRAME_TOO_LARGE", text);
}
