/** One acknowledged message on its way from the log into its mailbox. */
import type { Lsn } from "../../journal/index.ts";
import type { StoredRecord } from "../volumes/records.ts";

export interface Mailing {
  /** The frame that answers for it; a later one when it was written to the log again. */
  lsn: Lsn;
  record: StoredRecord;
  /** The mailbox's path. */
  readonly mailbox: string;
  /**
   * `"logged"`: only the log has it. `"staged"`: durable in staging, data and name. `"renamed"`: in its
   * mailbox, its name not yet durable. `"published"`: visible and durable.
   */
  state: "logged" | "staged" | "renamed" | "published";
  /** Publishing it is not tried again before this time of the clock, in milliseconds. */
  notBeforeMs: number;
  /** Why it was not published so far. */
  obstacle: unknown;
}

export function mailing(
  lsn: Lsn,
  record: StoredRecord,
  mailbox: string,
  state: Mailing["state"] = "logged",
): Mailing {
  return { lsn, record, mailbox, state, notBeforeMs: 0, obstacle: undefined };
}

/** Octets of the message as it will lie in the mailbox. */
export function sizeOf({ head, large }: StoredRecord): number {
  return head.length + (large?.size ?? 0);
}

/** Octets it will take on its mail file system. */
export function spaceOf(record: StoredRecord): number {
  return fileSpace(sizeOf(record));
}

const blockBytes = 4096;

/**
 * Octets that a file of so many takes: whole blocks. Counted so, a bound on octets also bounds how many
 * small messages there can be, and with them the time that publishing or recovering them takes.
 */
export function fileSpace(size: number): number {
  return Math.max(1, Math.ceil(size / blockBytes)) * blockBytes;
}
