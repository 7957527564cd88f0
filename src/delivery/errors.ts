/**
 * The one error class of this room: `code` tells what happened, `errno` why a system call failed.
 */
import { BatcherError } from "../batcher/index.ts";
import type { JournalErrorCode } from "../journal/index.ts";
import { MaildirError } from "../maildir/index.ts";
import { errnoOf } from "../system/index.ts";

export type DeliveryErrorCode =
  /** The message was not stored and is not visible; `errno` and `cause` tell why. */
  | "ERR_DELIVERY_FAILED"
  /** The disk thread ended, or failed, while it held the message: it may or may not be stored. */
  | "ERR_DELIVERY_IN_DOUBT"
  /**
   * The executor was closed, or its disk thread has ended: `deliver` did not take the message; of
   * `published`: the message is durable, and recovery will publish it.
   */
  | "ERR_DELIVERY_CLOSED"
  /** One body in memory exceeds `maxPendingBytes`; the caller must spool it to a file. */
  | "ERR_DELIVERY_TOO_LARGE"
  /** The journal could not be opened or read, so the executor did not open; `cause` tells why. */
  | "ERR_DELIVERY_JOURNAL"
  /** The message could not be published; it is durable in `orphans/` of the staging directory. */
  | "ERR_DELIVERY_ORPHANED"
  /** An option or an argument has an impossible value; the error's text has the value. */
  | "ERR_DELIVERY_OPTION";

export class DeliveryError extends Error {
  override readonly name = "DeliveryError";
  readonly code: DeliveryErrorCode;
  /** The Maildir of the message, or the file or directory that the error is about. */
  readonly path: string | undefined;
  /** Such as `"ENOSPC"`, when a system call failed. */
  readonly errno: string | undefined;
  /** With `ERR_DELIVERY_JOURNAL`: the code of the `JournalError`, if the cause is one. */
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

/**
 * Maps an error of batcher or committer to a DeliveryError. Any other error, such as the reason of
 * an aborted signal, is returned unchanged.
 */
export function toDeliveryError(error: unknown, path: string, maxPendingBytes: number): unknown {
  if (error instanceof DeliveryError) return error;
  if (error instanceof BatcherError) return ofBatcher(error, path, maxPendingBytes);
  const errno = errnoOf(error);
  if (errno === undefined && !(error instanceof MaildirError)) return error;
  return new DeliveryError(
    "ERR_DELIVERY_FAILED",
    `Cannot deliver into "${path}"${errno ? ` (${errno})` : ""}; nothing of the message is visible there.`,
    { path, errno, cause: error instanceof Error ? (error.cause ?? error) : error },
  );
}

function ofBatcher(cause: BatcherError, path: string, maxPendingBytes: number): DeliveryError {
  switch (cause.code) {
    case "ERR_BATCHER_CLOSED": {
      const text = `The executor is closed; the message for "${path}" was not taken.`;
      return new DeliveryError("ERR_DELIVERY_CLOSED", text, { path, cause });
    }
    case "ERR_BATCHER_ITEM_TOO_LARGE": {
      const text = `The message for "${path}" alone exceeds maxPendingBytes (${maxPendingBytes}); pass it as a file.`;
      return new DeliveryError("ERR_DELIVERY_TOO_LARGE", text, { path, cause });
    }
    default: {
      if (cause.cause instanceof DeliveryError) return cause.cause;
      return new DeliveryError("ERR_DELIVERY_FAILED", `Cannot deliver into "${path}".`, {
        path,
        errno: errnoOf(cause.cause),
        cause: cause.cause ?? cause,
      });
    }
  }
}
