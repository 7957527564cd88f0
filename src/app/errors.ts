/** The errors of `app`: why a command or the server cannot do its work, in words for its user. */
import { errnoOf } from "../system/index.ts";

export type AppErrorCode =
  | "ERR_APP_USAGE"
  | "ERR_APP_SETTING_UNKNOWN"
  | "ERR_APP_SETTING_INVALID"
  | "ERR_APP_CONFIG_FILE"
  | "ERR_APP_DATA_DIRECTORY"
  | "ERR_APP_DATA_IN_USE"
  | "ERR_APP_FILE_SYSTEM"
  /** The journal has an unknown version or is damaged; starting again does not help. */
  | "ERR_APP_JOURNAL"
  /** The journal cannot be opened or cannot publish its mail; the cause may pass by itself. */
  | "ERR_APP_JOURNAL_NOT_NOW"
  /** The outbox has tables of a newer version; starting again does not help. */
  | "ERR_APP_OUTBOX"
  /** The outbox cannot be used now; the cause may pass by itself. */
  | "ERR_APP_OUTBOX_NOT_NOW"
  /** There is no message or delivery with that id, or no outbox yet. */
  | "ERR_APP_NOT_FOUND"
  /** The idempotency key was used before for a mail with other content. */
  | "ERR_APP_CONFLICT"
  | "ERR_APP_LISTEN"
  | "ERR_APP_ADDRESS"
  | "ERR_APP_NO_MAILBOX"
  | "ERR_APP_MESSAGE"
  | "ERR_APP_DELIVERY";

/**
 * Reports why a command failed, and advises its user.
 *
 * The message is one line, complete without a stack trace. `code` is stable; the command line turns
 * it into an exit code (sysexits).
 */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: AppErrorCode;

  constructor(code: AppErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Tells whether an error of a file operation means that its path does not exist. */
export function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "");
}

/** The message of an error, or the text of another thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The fields of a log line about an error: its message with its causes' messages, and errno. */
export function errorFields(error: unknown): {
  readonly error: string;
  readonly errno: string | undefined;
} {
  const messages: string[] = [];
  for (let level = error; level !== undefined && messages.length < 5; ) {
    const message = messageOf(level);
    // Many errors repeat the message of their cause; a repeated message is left out.
    if (!messages.some((before) => before.includes(message))) {
      messages.push(message.replace(/\.$/, ""));
    }
    level = level instanceof Error ? level.cause : undefined;
  }
  return { error: messages.join(": "), errno: errnoOf(error) };
}
