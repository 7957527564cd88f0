/**
 * When a publisher runs its next round, and how far its marks may go: pure decisions.
 *
 * PUBLISHED never passes a message that is not published, and never passes DURABLE.
 */
import type { Lsn, Marks } from "../../journal/index.ts";
import type { Publication } from "./publication.ts";

const maxPauseAfterFailureMs = 30_000;
/** How long marks wait for a frame to share its write, while mail is coming in: a few commits. */
const shareWriteMs = 20;

/** How far a publisher has come. */
export interface Progress {
  /** Messages that are not published, by lsn. */
  readonly queue: readonly Publication[];
  /** The highest lsn handed over: marks may go so far. */
  readonly reach: Lsn;
  /** The marks in the log. */
  readonly marks: Marks;
}

/** The highest lsn that PUBLISHED may be raised to. */
export function publishableUpTo({ queue, reach, marks }: Progress): Lsn {
  const first = queue[0];
  const done = first !== undefined && first.lsn <= reach ? first.lsn - 1n : reach;
  return done < marks.durable ? done : marks.durable;
}

/** Time until there is work for a round, in milliseconds; `undefined` when nothing is left. */
export function dueInMs(progress: Progress, nowMs: number): number | undefined {
  const { queue, reach, marks } = progress;
  if (publishableUpTo(progress) > marks.published) return 0;
  if (queue.length === 0) return reach > marks.durable ? 0 : undefined;
  let dueMs = Number.POSITIVE_INFINITY;
  for (const one of queue) {
    if (!isHeld(one)) return 0;
    dueMs = Math.min(dueMs, one.notBeforeMs - nowMs);
  }
  return dueMs;
}

/** The rounds so far. */
interface Rounds {
  readonly lastStartMs: number;
  /** Failed rounds in a row. */
  readonly failures: number;
  /** Longest time from the log to the mailbox under load, in milliseconds. */
  readonly publishWithinMs: number;
}

/**
 * Time to wait before the next round, in milliseconds; none when it is negative. Rounds start half
 * of `publishWithinMs` apart: the other half is for the round itself. Failures double the pause.
 */
export function pauseMs({ lastStartMs, failures, publishWithinMs }: Rounds, nowMs: number): number {
  const backoffMs = Math.min(maxPauseAfterFailureMs, 100 * 2 ** failures);
  return lastStartMs + (failures > 0 ? backoffMs : publishWithinMs / 2) - nowMs;
}

/**
 * How long a mark may wait for a frame to share its write, in milliseconds. A frame that came
 * during the round makes it likely that another one follows.
 */
export function mayWaitMs(reach: Lsn, roundReach: Lsn): number {
  return reach > roundReach ? shareWriteMs : 0;
}

/** Whether a message only waits for its next attempt: it is staged already. */
export function isHeld({ state, notBeforeMs }: Publication): boolean {
  return state === "staged" && notBeforeMs > 0;
}
