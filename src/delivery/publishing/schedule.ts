/**
 * When a publisher runs its next round, and how far its marks may go: pure decisions, called by
 * publisher.ts.
 *
 * The marks are lsns (log sequence numbers) of one volume: up to DURABLE all messages are staged,
 * up to PUBLISHED all are published. PUBLISHED stays below every unpublished message, and at or
 * below DURABLE.
 */
import type { Lsn, Marks } from "../../journal/index.ts";
import type { Publication } from "./publication.ts";

const maxPauseAfterFailureMs = 30_000;
/** Longest wait of a mark for a frame whose write it can share: the time of a few commits. */
const shareWriteMs = 20;

/** How far a publisher has come. */
export interface Progress {
  /** Messages that are not published, by lsn. */
  readonly queue: readonly Publication[];
  /** The highest lsn handed over to the publisher: no mark goes further. */
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

/** Milliseconds until there is work for a round; at most 0 for now, `undefined` for none left. */
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
  /** Start of the last round, by the clock of `nowMs` (monotonic). */
  readonly lastStartMs: number;
  /** Failed rounds in a row. */
  readonly failures: number;
  /** Longest time from the log to the mailbox under load, in milliseconds. */
  readonly publishWithinMs: number;
}

/**
 * Milliseconds to wait before the next round; 0 or less: no wait. Rounds start at least half of
 * `publishWithinMs` apart: the other half is for the round itself. After a failed round the pause
 * is 200 ms, doubled by each further failure in a row, at most 30 s.
 */
export function pauseMs({ lastStartMs, failures, publishWithinMs }: Rounds, nowMs: number): number {
  const backoffMs = Math.min(maxPauseAfterFailureMs, 100 * 2 ** failures);
  return lastStartMs + (failures > 0 ? backoffMs : publishWithinMs / 2) - nowMs;
}

/**
 * How long a mark may wait for a frame to share the frame's write, in milliseconds. A frame that
 * came during the round makes it likely that another frame follows.
 */
export function mayWaitMs(reach: Lsn, roundReach: Lsn): number {
  return reach > roundReach ? shareWriteMs : 0;
}

/** Whether a message is held: staged, and waiting for its next attempt after a failed one. */
export function isHeld({ state, notBeforeMs }: Publication): boolean {
  return state === "staged" && notBeforeMs > 0;
}
