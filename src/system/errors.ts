/**
 * The one error class of this room, for errors other than those of system calls. A failed system
 * call is reported as Node reports it: `code` such as `"EIO"`, `errno`, `syscall`, `path`.
 */
import * as util from "node:util";
import { optionChecks } from "./check-options.ts";

export type SystemErrorCode =
  /** An argument has the wrong type or is out of range. */
  | "ERR_SYSTEM_INVALID_ARGUMENT"
  /** The helper that flushes a file system ended by itself. */
  | "ERR_SYSTEM_HELPER_GONE"
  /** The helper did not answer in time. */
  | "ERR_SYSTEM_HELPER_SLOW"
  /** The object was closed before the call. */
  | "ERR_SYSTEM_CLOSED"
  /** This Node is older than the one that is needed. Thrown by the import. */
  | "ERR_SYSTEM_NODE_VERSION";

export class SystemError extends Error {
  override readonly name = "SystemError";
  readonly code: SystemErrorCode;

  constructor(code: SystemErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export const { refusal } = optionChecks(
  (text) => new SystemError("ERR_SYSTEM_INVALID_ARGUMENT", text),
);

/** Makes the error of a system call that Node has no function for, as Node would. */
export function errnoError(errno: number, syscall: string, path: string): NodeJS.ErrnoException {
  const code = util.getSystemErrorName(-errno);
  const text = `${code}: ${util.getSystemErrorMessage(-errno)}, ${syscall} '${path}'`;
  return Object.assign(new Error(text), { code, errno: -errno, syscall, path });
}

/** Returns the errno name of an error, such as `"ENOENT"`, or of its nearest cause that has one. */
export function errnoOf(error: unknown): string | undefined {
  let level = error as { code?: unknown; cause?: unknown } | null | undefined;
  for (let depth = 0; depth < maxCauses && level !== undefined && level !== null; depth += 1) {
    const { code, cause } = level;
    if (typeof code === "string" && /^E[A-Z0-9]+$/.test(code)) return code;
    level = cause as typeof level;
  }
  return undefined;
}

/** Bounds a chain of causes that leads back to itself. */
export const maxCauses = 10;
