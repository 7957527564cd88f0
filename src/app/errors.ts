/** The errors of the `app` room: what keeps a command from doing its work, in words for its user. */

export type AppErrorCode =
  | "ERR_APP_USAGE"
  | "ERR_APP_SETTING_UNKNOWN"
  | "ERR_APP_SETTING_INVALID"
  | "ERR_APP_CONFIG_FILE"
  | "ERR_APP_DATA_DIRECTORY"
  | "ERR_APP_DATA_IN_USE"
  | "ERR_APP_FILE_SYSTEM"
  /** The journal is not understood, or is damaged: starting again does not help. */
  | "ERR_APP_JOURNAL"
  /** The journal cannot be opened, or publish what it owes, for a reason that may pass. */
  | "ERR_APP_JOURNAL_NOT_NOW"
  /** The outbox cannot be used as it is: starting again does not help. */
  | "ERR_APP_OUTBOX"
  /** The outbox cannot be used now, for a reason that may pass. */
  | "ERR_APP_OUTBOX_NOT_NOW"
  /** There is no such message, delivery or outbox. */
  | "ERR_APP_NOT_FOUND"
  /** The idempotency key stands for another mail. */
  | "ERR_APP_CONFLICT"
  | "ERR_APP_LISTEN"
  | "ERR_APP_ADDRESS"
  | "ERR_APP_NO_MAILBOX"
  | "ERR_APP_MESSAGE"
  | "ERR_APP_DELIVERY";

/**
 * Says why a command cannot do what it was asked, and what to do about it.
 *
 * The message is one line, complete without a stack trace. `code` is stable; the command line turns it
 * into an exit status (sysexits).
 */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: AppErrorCode;

  constructor(code: AppErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** The errno name of a system error, such as `"ENOSPC"`; `undefined` for every other error. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = (error as NodeJS.ErrnoException).code;
  return code !== undefined && /^E[A-Z0-9]+$/.test(code) ? code : errnoOf(error.cause);
}

/** An error and what caused it, without stack traces: the words of every level, and the errno. */
export function why(error: unknown): { readonly error: string; readonly errno?: string } {
  const words: string[] = [];
  for (let level = error; level !== undefined && words.length < 5; ) {
    const word = level instanceof Error ? level.message : String(level);
    // Many an error repeats the words of its cause.
    if (!words.some((before) => before.includes(word))) words.push(word.replace(/\.$/, ""));
    level = level instanceof Error ? level.cause : undefined;
  }
  const errno = errnoOf(error);
  return { error: words.join(": "), ...(errno !== undefined && { errno }) };
}
