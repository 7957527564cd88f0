/**
 * What recovery does with one message of the log: a pure decision, from the marks of its mail file
 * system and from nothing but its file in staging. `new/` and `cur/` are never listed: a reader may be
 * at work there, and what it did is its own.
 *
 * Above DURABLE no reader can have seen the message, so the log alone decides. From there to PUBLISHED
 * the file system decides: a message that is not in staging any more was published, and what became of
 * it since is the reader's business. But only the right file system can say "not any more": one that is
 * not mounted, or came back from a backup, looks just the same.
 */
import type { Lsn, Marks } from "../../journal/index.ts";

/** What stands in staging under the message's name. */
export type Staged = "absent" | "only name" | "one of several names";

export type NextStep =
  /** A later frame speaks of the same message. */
  | "leave to later frame"
  /** All that was promised is done. */
  | "nothing"
  /** Its mail file system was not recognised: keep the record, take no mail there. */
  | "keep"
  /** Remove a remnant, never a referenced large body, and stage again from the log. */
  | "stage again"
  /** It was published and is durable once the directory's names are flushed. */
  | "flush names"
  /** Durable in staging: finish the rename. */
  | "publish"
  /** Another name of the same file exists somewhere: remove the one in staging. */
  | "remove from staging";

export interface Facts {
  readonly lsn: Lsn;
  /** The highest lsn in the log under the message's name. */
  readonly highestLsn: Lsn;
  readonly marks: Marks;
  /** Whether the file system's identity was read, and is the one the log means. */
  readonly recognised: boolean;
  /** Asked only where it decides. */
  readonly staged: () => Staged;
}

export function nextStep({ lsn, highestLsn, marks, recognised, staged }: Facts): NextStep {
  if (lsn < highestLsn) return "leave to later frame";
  if (lsn <= marks.published) return "nothing";
  if (!recognised) return "keep";
  if (lsn > marks.durable) return "stage again";
  switch (staged()) {
    case "absent":
      return "flush names";
    case "only name":
      return "publish";
    case "one of several names":
      return "remove from staging";
  }
}
