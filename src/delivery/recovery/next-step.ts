/**
 * What recovery does with one message of the log: a pure decision, from the marks of its volume and
 * the message's file in staging. `new/` and `cur/` are never listed: readers move and delete files
 * there, and recovery must not undo that.
 *
 * Above DURABLE no reader can have seen the message, so the log alone decides. Between PUBLISHED
 * and DURABLE staging decides: a message that is no longer in staging was published. Only the right
 * volume can prove that: one that is not mounted, or was restored from a backup, lacks the file
 * too.
 */
import type { Lsn, Marks } from "../../journal/index.ts";

/** The file in staging under the message's name. */
export type Staged = "absent" | "only name" | "one of several names";

export type NextStep =
  /** A later frame holds the same message. */
  | "leave to later frame"
  /** The message is published, or orphaned, and durable. */
  | "nothing"
  /** Its volume was not recognised: the record stays in the log, and the volume takes no mail. */
  | "keep in log"
  /**
   * Remove what an unfinished write left (never a referenced large body), and stage from the log.
   */
  | "stage again"
  /** It was renamed into its mailbox; the mailbox's names must be flushed. */
  | "flush names"
  /** It is durable in staging; rename it into its mailbox. */
  | "publish"
  /** The file has another name somewhere: remove the one in staging. */
  | "remove from staging";

/** What the decision depends on. */
export interface Situation {
  readonly lsn: Lsn;
  /** The highest lsn in the log under the message's name. */
  readonly highestLsn: Lsn;
  readonly marks: Marks;
  /** Whether the volume's identity was read and is the one the log means. */
  readonly isRecognised: boolean;
  /** Looks in staging; called only where it decides. */
  readonly staged: () => Staged;
}

export function nextStep({ lsn, highestLsn, marks, isRecognised, staged }: Situation): NextStep {
  if (lsn < highestLsn) return "leave to later frame";
  if (lsn <= marks.published) return "nothing";
  if (!isRecognised) return "keep in log";
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
