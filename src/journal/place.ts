/**
 * Decides where the next record goes.
 *
 * Invariant: new mail never takes the last spare segment. That spare is reserved for records that
 * make room again: marks, frames that are logged once more, recovery.
 */

/** What a record may use: all spares but one; every spare; or also a segment beyond the limit. */
export type Claim = "mail" | "reserved" | "must";

/**
 * Where a record goes: the current segment, the next one, wait for a spare to be made, or nowhere.
 */
export type Place = "here" | "next" | "wait" | "full";

/** The segments that the log can use now. */
export interface SegmentSupply {
  /** Bytes left in the current segment. */
  readonly roomBytes: number;
  readonly spares: number;
  readonly isMaking: boolean;
  /** The last attempt to make a spare did not fail. */
  readonly mayMake: boolean;
  readonly segments: number;
  readonly maxSegments: number;
}

export function placeFor(size: number, claim: Claim, supply: SegmentSupply): Place {
  const { roomBytes, spares, isMaking, mayMake, segments, maxSegments } = supply;
  const reserved = claim === "mail" ? 1 : 0;
  const fits = size <= roomBytes;
  if (fits && spares >= reserved) return "here";
  if (!fits && spares > reserved) return "next";
  const isWithinLimit = segments < maxSegments || (claim === "must" && spares === 0);
  return isMaking || (mayMake && isWithinLimit) ? "wait" : "full";
}

/**
 * Bytes that new mail may still take; `freshRoomBytes` is the room for payload in an empty segment.
 */
export function roomForMail(supply: SegmentSupply, freshRoomBytes: number): number {
  const { roomBytes, spares, isMaking, mayMake, segments, maxSegments } = supply;
  const toBeMade = mayMake ? Math.max(0, maxSegments - segments) : 0;
  const ahead = spares + (isMaking ? 1 : 0) + toBeMade;
  return ahead === 0 ? 0 : roomBytes + (ahead - 1) * freshRoomBytes;
}
