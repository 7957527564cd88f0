/**
 * What recovery does with one message of the log: a pure decision, from the marks of its volume and
 * the message's file in staging; replay.ts carries it out. `new/` and `cur/` are never listed:
 * readers move and delete files there, and recovery must not undo that.
 *
 * The marks are log sequence numbers (lsns): up to DURABLE messages are staged, up to PUBLISHED
 * they are published. Above DURABLE no reader can have seen the message, so the log alone decides.
 * Between PUBLISHED and DURABLE staging decides: a message that is no longer in staging was
 * published. Only the right volume can prove that: a volume that is not mounted, or was restored
 * from a backup, lacks the file too.
 */
import type { Lsn, Marks } from "../../journal/index.ts";

/** The file in staging under the message's name: absent, or how many names (links) it has. */
export type Staged = "absent" | "only name" | "one of several names";

export type NextStep =
  /** A later frame of the log holds the message again, and that frame's step counts. */
  | "leave to later frame"
  /** The message is published, or orphaned, and durable. */
  | "nothing"
  /** The volume was not recognised: the message stays in the log, and the volume takes no mail. */
  | "keep in log"
  /**
   * Write the message into staging from the log. What an unfinished write left is removed, but
   * never a large body that the log refers to.
   */
  | "stage again"
  /** The message was renamed into its mailbox; the mailbox's names must be flushed. */
  | "flush names"
  /** The message is durable in staging; rename it into its mailbox. */
  | "publish"
  /** The file has a second name, in its mailbox: remove the name in staging. */
  | "remove from staging";

/** What the decision depends on. */
export interface Situation {
  /** Of the frame that holds the message. */
  readonly lsn: Lsn;
  /** Of the last frame that holds the message. */
  readonly highestLsn: Lsn;
  /** The marks of the message's volume. */
  readonly marks: Marks;
  /** Whether the volume's identity was read and is the one the log means. */
  readonly isRecognised: boolean;
  /** Looks in staging; called at most once, and only where staging decides. */
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
