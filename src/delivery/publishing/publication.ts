/**
 * A publication: one acknowledged message on its way from the log into its mailbox.
 *
 * Its state (logged → staged → renamed → published) tells where a crash would leave the message.
 */
import type { Lsn } from "../../journal/index.ts";
import type { StoredRecord } from "../volumes/records.ts";

export interface Publication {
  /** The number of the frame with the message; of the later frame once it was logged again. */
  lsn: Lsn;
  /** What the frame has for this message. */
  record: StoredRecord;
  /** The mailbox's path, absolute or as the caller gave it. */
  readonly mailbox: string;
  /**
   * `"logged"`: in the log only. `"staged"`: durable in staging, data and name. `"renamed"`: in its
   * mailbox, the name not yet durable. `"published"`: visible and durable.
   */
  state: "logged" | "staged" | "renamed" | "published";
  /** Earliest next attempt, in milliseconds of the monotonic clock; 0 before the first failure. */
  notBeforeMs: number;
  /** Why the last attempt failed; `undefined` before the first failure. */
  failure: unknown;
}

export function publication(
  lsn: Lsn,
  record: StoredRecord,
  mailbox: string,
  state: Publication["state"] = "logged",
): Publication {
  return { lsn, record, mailbox, state, notBeforeMs: 0, failure: undefined };
}

/** Size of the message in its mailbox, in bytes. */
export function sizeOf({ head, large }: StoredRecord): number {
  return head.length + (large?.size ?? 0);
}

/** Bytes the message takes on its volume, in whole blocks. */
export function spaceOf(record: StoredRecord): number {
  return fileSpace(sizeOf(record));
}

const blockBytes = 4096;

/**
 * Bytes a file of `size` bytes takes on disk: whole blocks. Counted so, a bound on bytes also
 * bounds the number of small messages, and with it the time to publish or recover them.
 */
export function fileSpace(size: number): number {
  return Math.max(1, Math.ceil(size / blockBytes)) * blockBytes;
}
