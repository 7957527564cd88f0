/**
 * The one error class of this room.
 *
 * Every error of a disk here is temporary for the sender: `cause` is the original error and
 * `errno` its name, by which a server tells a full disk from a full quota without parsing text.
 */
import { errnoOf, optionChecks } from "../system/index.ts";

export type MaildirErrorCode =
  /** An argument was of the wrong type or out of range. */
  | "ERR_MAILDIR_INVALID_ARGUMENT"
  /** The path is a file, or lacks `new/`, `cur/` or `tmp/`. */
  | "ERR_MAILDIR_NOT_A_MAILDIR"
  /** A directory below the mail root is a symbolic link; it is not followed. */
  | "ERR_MAILDIR_SYMLINK"
  /** A directory of the mailbox could not be created, opened or examined. */
  | "ERR_MAILDIR_DIRECTORY_FAILED"
  /** The message could not be written to `tmp/`. */
  | "ERR_MAILDIR_WRITE_FAILED"
  /** The spooled body has another size than stated. */
  | "ERR_MAILDIR_BODY_SIZE"
  /** The message or its name could not be flushed. */
  | "ERR_MAILDIR_SYNC_FAILED"
  /** The message could not be renamed into `new/` or `cur/`. */
  | "ERR_MAILDIR_PUBLISH_FAILED"
  /** No message of that id is in `new/` or `cur/`. */
  | "ERR_MAILDIR_NOT_FOUND"
  /** Listing, reading, marking or removing failed. */
  | "ERR_MAILDIR_ACCESS_FAILED";

export interface MaildirErrorFacts {
  /** The file or directory concerned. */
  readonly path?: string | undefined;
  /**
   * Whether readers may still see the failed message: a repeat by its sender is then a second
   * copy.
   */
  readonly mayRemain?: boolean;
  readonly cause?: unknown;
}

export class MaildirError extends Error {
  override readonly name = "MaildirError";
  readonly code: MaildirErrorCode;
  /** The file or directory concerned. */
  readonly path: string | undefined;
  /** Name of the original errno, such as `"ENOSPC"`, if there was one. */
  readonly errno: string | undefined;
  /**
   * Whether readers may still see the failed message: a repeat by its sender is then a second
   * copy.
   */
  readonly mayRemain: boolean;

  constructor(code: MaildirErrorCode, message: string, facts: MaildirErrorFacts = {}) {
    super(message, "cause" in facts ? { cause: facts.cause } : {});
    this.code = code;
    this.path = facts.path;
    this.errno = errnoOf(facts.cause);
    this.mayRemain = facts.mayRemain ?? false;
  }
}

/** Makes the error for an argument that cannot be used. */
export const { refusal } = optionChecks(
  (text) => new MaildirError("ERR_MAILDIR_INVALID_ARGUMENT", text),
);
