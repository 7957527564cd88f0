/** The one error class of this room; `code` says what happened, `errno` what the system said. */
import type { JournalErrorCode } from "../journal/index.ts";

export type DeliveryErrorCode =
  /** The message could not be stored; `errno` and `cause` say why. Nothing of it is visible. */
  | "ERR_DELIVERY_FAILED"
  /** The disk thread ended while the message was with it: it may or may not have been stored. */
  | "ERR_DELIVERY_IN_DOUBT"
  /** The executor was closed, or its disk thread is gone; the message was not taken. */
  | "ERR_DELIVERY_CLOSED"
  /** One body alone exceeds `maxPendingBytes`; it must be spooled to a file. */
  | "ERR_DELIVERY_TOO_LARGE"
  /** The journal could not be opened or understood; `cause` says why. */
  | "ERR_DELIVERY_JOURNAL"
  /** The message could not be published; it is kept in `orphans/` beside staging. */
  | "ERR_DELIVERY_ORPHANED"
  /** An option or an argument has a value it cannot have. */
  | "ERR_DELIVERY_OPTION";

export class DeliveryError extends Error {
  override readonly name = "DeliveryError";
  readonly code: DeliveryErrorCode;
  /** The Maildir the message was meant for. */
  readonly path: string | undefined;
  /** Such as `"ENOSPC"`, when a system call failed. */
  readonly errno: string | undefined;
  /** With `ERR_DELIVERY_JOURNAL`: what the journal said, when it was the one to refuse. */
  readonly journalCode: JournalErrorCode | undefined;

  constructor(
    code: DeliveryErrorCode,
    message: string,
    facts: {
      readonly path?: string | undefined;
      readonly errno?: string | undefined;
      readonly journalCode?: JournalErrorCode | undefined;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.path = facts.path;
    this.errno = facts.errno;
    this.journalCode = facts.journalCode;
  }
}
