/**
 * Decides what the writer of the log does next: a pure function of the state of log and queue.
 *
 * Frames come first. A frame that waits for a spare segment must not hold up the marks that make
 * room, so these are written then, even before they are due.
 */
import type { Place } from "./place.ts";

/**
 * - `opening`: the log is being rewritten as understood; a failure fails the opening, without a
 *   retry.
 * - `accepting`: frames are taken.
 * - `repairing`: a write failed twice; the next record declares the refused frames void.
 * - `failing`: that record failed too, or is under way; a retry timer leads back to `repairing`.
 */
export type LogMode = "opening" | "accepting" | "repairing" | "failing";

/**
 * - `repair`: write the record that makes refused frames void.
 * - `frame`: write the first queued frame. `marks`: write the marks without a frame.
 * - `spare`: wait until a spare segment has been made.
 * - `refuse`: reject the first queued frame, or, while opening, the waiting marks.
 * - `idle`: wait for an event.
 */
export type NextWrite = "repair" | "frame" | "marks" | "spare" | "refuse" | "idle";

export interface WriteSituation {
  readonly mode: LogMode;
  /** Where the first queued frame would go; `undefined` without one. */
  readonly frame: Place | undefined;
  /** Where a record of marks alone would go; `undefined` when no mark waits. */
  readonly marks: Place | undefined;
  /** Waiting marks are due: no frame came in time. */
  readonly areMarksDue: boolean;
}

export function nextWrite({ mode, frame, marks, areMarksDue }: WriteSituation): NextWrite {
  if (mode === "failing") return "idle";
  if (mode === "repairing") return "repair";
  if (isNow(frame)) return "frame";
  if (frame === "full") return "refuse";
  if (marks !== undefined && (areMarksDue || frame === "wait")) {
    if (isNow(marks)) return "marks";
    if (marks === "wait") return "spare";
    if (mode === "opening") return "refuse";
  }
  return frame === "wait" ? "spare" : "idle";
}

function isNow(place: Place | undefined): boolean {
  return place === "here" || place === "next";
}
