/** The one error class of the outbox. A remote server's reply is an outcome, never an error. */
export type OutboxErrorCode =
  /** An option or an argument has an invalid value. */
  | "ERR_OUTBOX_OPTION"
  /** The mail cannot be sent as it is: no recipient, no sender, a malformed address or header. */
  | "ERR_OUTBOX_MAIL"
  /** The idempotency key was used before, for other content; nothing was enqueued. */
  | "ERR_OUTBOX_IDEMPOTENCY_CONFLICT"
  /** The handle given as `tx` is of a kind that this store cannot write through. */
  | "ERR_OUTBOX_TRANSACTION"
  /** The database refused the call or was not reached; `cause` says why. Nothing was changed. */
  | "ERR_OUTBOX_STORE"
  /** The database was lost during a write: the write may or may not be durable. */
  | "ERR_OUTBOX_IN_DOUBT"
  /** The schema in the database is older or newer than this program understands. */
  | "ERR_OUTBOX_SCHEMA_VERSION"
  /** The outbox or its store was closed; nothing was accepted. */
  | "ERR_OUTBOX_CLOSED"
  /** No message or delivery has this id. */
  | "ERR_OUTBOX_NOT_FOUND";

export class OutboxError extends Error {
  override readonly name = "OutboxError";
  readonly code: OutboxErrorCode;
  /** The message that has the idempotency key, or the id of the call that was not found. */
  readonly id: string | undefined;

  constructor(
    code: OutboxErrorCode,
    message: string,
    facts: { readonly id?: string | undefined; readonly cause?: unknown } = {},
  ) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.id = facts.id;
  }
}

export function storeClosed(): OutboxError {
  return new OutboxError("ERR_OUTBOX_CLOSED", "The outbox store was closed.");
}
