/**
 * Errors of the room smtp: of its options, the mail server and DKIM signing. A remote server's
 * refusal is a `RecipientOutcome`, not an error.
 */
import { optionChecks } from "../system/index.ts";

export type SmtpErrorCode =
  /** An option has a value that cannot be used. */
  | "ERR_SMTP_OPTION_INVALID"
  /** The server cannot listen on the address; `cause` is the operating system's error. */
  | "ERR_SMTP_LISTEN_FAILED"
  /** Another program listens on the UNIX socket, or its path is a file of another kind. */
  | "ERR_SMTP_SOCKET_IN_USE"
  /** The spool directory cannot be read or written. */
  | "ERR_SMTP_SPOOL_UNUSABLE"
  /** A `Deliver` broke its contract: it did not return one outcome per recipient. */
  | "ERR_SMTP_OUTCOME_COUNT"
  /** A message cannot be signed with DKIM. */
  | "ERR_SMTP_DKIM";

export class SmtpError extends Error {
  override readonly name = "SmtpError";
  readonly code: SmtpErrorCode;

  constructor(code: SmtpErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** The checks of this room's options. */
export const { wholeNumber, oneOf, refusal } = optionChecks(
  (text) => new SmtpError("ERR_SMTP_OPTION_INVALID", text),
);
