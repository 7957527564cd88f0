/**
 * Decides where the next record goes, so that new mail never takes the last spare segment.
 *
 * That spare is for what makes room again: marks, frames logged once more, recovery.
 */

/** What a record may use: the spares but one; every spare; or also a segment beyond the limit. */
export type Claim = "mail" | "reserved" | "must";

/** Into the current segment, into the next one, after a spare has been made, or nowhere. */
export type Place = "here" | "next" | "wait" | "full";

export interface Situation {
  /** Octets left in the current segment. */
  readonly room: number;
  readonly spares: number;
  readonly isMaking: boolean;
  /** The last attempt to make a spare did not fail. */
  readonly mayMake: boolean;
  readonly segments: number;
  readonly maxSegments: number;
}

export interface Request extends Situation {
  readonly size: number;
  readonly claim: Claim;
}

export function placeFor(request: Request): Place {
  const { size, claim, room, spares, isMaking, mayMake, segments, maxSegments } = request;
  const left = claim === "mail" ? 1 : 0;
  const fits = size <= room;
  if (fits && spares >= left) return "here";
  if (!fits && spares > left) return "next";
  const isWithinLimit = segments < maxSegments || (claim === "must" && spares === 0);
  return isMaking || (mayMake && isWithinLimit) ? "wait" : "full";
}

/** Octets that new mail may still take, if `freshRoom` of them fit into a segment of its own. */
export function roomForMail(situation: Situation, freshRoom: number): number {
  const { room, spares, isMaking, mayMake, segments, maxSegments } = situation;
  const toBeMade = mayMake ? Math.max(0, maxSegments - segments) : 0;
  const ahead = spares + (isMaking ? 1 : 0) + toBeMade;
  return ahead === 0 ? 0 : room + (ahead - 1) * freshRoom;
}
