/** One acknowledged message on its way from the log into its mailbox. */
import type { Lsn } from "../journal/index.ts";
import type { StoredRecord } from "./records.ts";

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
