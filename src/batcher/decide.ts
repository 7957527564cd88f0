/**
 * When may a key start another batch? The whole policy of the batcher, as one pure function.
 *
 * The shell asks after every change to a key (an item accepted, cancelled or sealed, a slot taken or
 * freed, a linger run out, a flush, a close) and carries out the answer. Nothing else decides.
 */

/** Why a batch started; it is reported with the batch. */
export type Trigger =
  /** The key had nothing in flight and an item arrived. */
  | "idle"
  /** The key's last flush ended and items had gathered behind it. */
  | "finish"
  /** The batch reached `maxBatchItems` or `maxBatchBytes`, or the whole batcher is full. */
  | "full"
  /** At least `minBatchItems` were there for an additional slot. */
  | "min"
  /** The oldest item waited `lingerMs`. */
  | "linger"
  | "flush"
  | "close";

/**
 * A trigger: start now. `linger`-`first`: start when the oldest uncovered item is `lingerMs` old.
 * `hold`: wait for company, or for a slot to be freed. `nothing`: no slot, or no item for one.
 */
export type Decision = Trigger | "linger-first" | "hold" | "nothing";

/** The limits a decision needs; see `BatcherOptions`. */
export interface StartLimits {
  readonly maxBatchItems: number;
  readonly maxBatchBytes: number;
  readonly keyConcurrency: number;
  readonly minBatchItems: number;
  readonly lingerMs: number;
  readonly holdUntilFull: boolean;
}

/** What a decision needs to know about a key. */
export interface KeyView {
  /** Slots in use, whether acquiring, processing or releasing. */
  readonly slots: number;
  /** Those of them that are acquiring: they will take items, but own none yet. */
  readonly acquiring: number;
  readonly queuedItems: number;
  /** Bytes queued, an item counting `maxBatchBytes` at most, because a larger one goes alone. */
  readonly queuedBytes: number;
  /** The oldest uncovered item has waited its `lingerMs`. */
  readonly lingered: boolean;
  /** The oldest queued item is to leave because of `flush`. */
  readonly flushing: boolean;
  /** An add found no room, so holding items back would keep others out for nothing. */
  readonly pressed: boolean;
  /** The queued items gathered behind a flush of this key. */
  readonly gathered: boolean;
}

/**
 * Decides whether a key may start a batch now.
 *
 * A slot that is still acquiring *covers* one full batch: it will take those items when it is ready.
 * Only the uncovered rest can ask for another slot; otherwise one queued item would acquire twice.
 */
export function decide(key: KeyView, limits: StartLimits, closing: boolean): Decision {
  if (key.slots >= limits.keyConcurrency) return "nothing";
  const restItems = key.queuedItems - key.acquiring * limits.maxBatchItems;
  // 0 × Infinity is NaN, hence the branch.
  const restBytes =
    key.acquiring === 0 ? key.queuedBytes : key.queuedBytes - key.acquiring * limits.maxBatchBytes;
  if (restItems <= 0 && restBytes <= 0) return "nothing";

  if (restItems >= limits.maxBatchItems || restBytes >= limits.maxBatchBytes) return "full";
  if (closing) return "close";
  if (key.flushing) return "flush";
  if (key.slots > 0 && Math.max(restItems, 1) < limits.minBatchItems) return "hold";
  if (key.lingered) return "linger";
  if (limits.lingerMs > 0 || limits.holdUntilFull) {
    if (key.pressed) return "full";
    return limits.lingerMs > 0 ? "linger-first" : "hold";
  }
  if (key.slots > 0) return "min";
  return key.gathered ? "finish" : "idle";
}
