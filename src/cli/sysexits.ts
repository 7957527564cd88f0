/**
 * The exit codes of all commands, by sysexits.h. A mail system that calls a command reads the exit
 * code, not the error text.
 *
 * On 75 Postfix, Exim and Sendmail queue the message and try again; on 0 the message is delivered;
 * on every other code they bounce it. So a command that delivers or sends a message exits with 75
 * for every fault of this machine.
 */
import type { AppErrorCode } from "../app/index.ts";

export const exitCodes = {
  ok: 0,
  notDone: 1,
  usage: 64,
  data: 65,
  noInput: 66,
  noUser: 67,
  unavailable: 69,
  software: 70,
  cannotCreate: 73,
  temporary: 75,
  config: 78,
} as const;

const byError: Readonly<Record<AppErrorCode, number>> = {
  ERR_APP_USAGE: exitCodes.usage,
  ERR_APP_SETTING_UNKNOWN: exitCodes.config,
  ERR_APP_SETTING_INVALID: exitCodes.config,
  ERR_APP_CONFIG_FILE: exitCodes.config,
  ERR_APP_DATA_DIRECTORY: exitCodes.cannotCreate,
  ERR_APP_DATA_IN_USE: exitCodes.temporary,
  ERR_APP_FILE_SYSTEM: exitCodes.unavailable,
  // A restart does not help; the systemd unit excludes 78 (docs/guides/as-a-service.md).
  ERR_APP_JOURNAL: exitCodes.config,
  ERR_APP_JOURNAL_NOT_NOW: exitCodes.temporary,
  ERR_APP_OUTBOX: exitCodes.config,
  ERR_APP_OUTBOX_NOT_NOW: exitCodes.temporary,
  ERR_APP_NOT_FOUND: exitCodes.noInput,
  ERR_APP_CONFLICT: exitCodes.data,
  ERR_APP_LISTEN: exitCodes.unavailable,
  ERR_APP_ADDRESS: exitCodes.usage,
  ERR_APP_NO_MAILBOX: exitCodes.noUser,
  ERR_APP_MESSAGE: exitCodes.data,
  ERR_APP_DELIVERY: exitCodes.temporary,
};

/** The exit code of an error's `code`. */
export function exitCodeOf(code: AppErrorCode): number {
  return byError[code];
}
