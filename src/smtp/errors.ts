/** Errors of this room: of the mail server itself, and of DKIM. A remote refusal is an outcome. */
import { optionChecks } from "../system/index.ts";

export type SmtpErrorCode =
  /** An option has a value that cannot be used. */
  | "ERR_SMTP_OPTION_INVALID"
  /** The server cannot listen on the address; `cause` is the operating system's error. */
  | "ERR_SMTP_LISTEN_FAILED"
  /** Another program answers on the UNIX socket. */
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
