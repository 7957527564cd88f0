/**
 * When a key may start another batch: the whole policy of the batcher, as one pure function.
 *
 * The dispatcher calls it after every change to a key (an item accepted, cancelled or sealed, a
 * slot taken or freed, a linger over, a flush, a close) and carries out the decision. Nothing else
 * decides.
 */

/** Why a batch started; it is reported with the batch. */
export type Trigger =
  /** The key had nothing in flight and an item arrived. */
  | "idle"
  /** The key's last flush ended and items had gathered behind it. */
  | "finish"
  /** The batch reached `maxBatchItems` or `maxBatchBytes`, or the whole batcher is full. */
  | "full"
  /** At least `minBatchItems` were queued for an additional slot. */
  | "min"
  /** The oldest item waited `lingerMs`. */
  | "linger"
  | "flush"
  | "close";

/**
 * A trigger: start now. `linger-first`: start when the oldest uncovered item is `lingerMs` old.
 * `hold`: wait for more items or for a free slot. `nothing`: no slot, or no item for one.
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

/** The state of a key on which a decision depends. */
export interface KeyView {
  /** Slots in use, whether acquiring, processing or releasing. */
  readonly slots: number;
  /** Slots of these that are acquiring: they will take items, but own none yet. */
  readonly acquiring: number;
  readonly queuedItems: number;
  /** Bytes queued; an item counts at most `maxBatchBytes`, because a larger one goes alone. */
  readonly queuedBytes: number;
  /** The oldest uncovered item has waited its `lingerMs`. */
  readonly hasLingered: boolean;
  /** The oldest queued item belongs to a flush. */
  readonly isFlushing: boolean;
  /** An add found no room, so holding items back would only keep others out. */
  readonly isRoomNeeded: boolean;
  /** The queued items gathered behind a flush of this key. */
  readonly hasGathered: boolean;
}

/**
 * Decides whether a key may start a batch now.
 *
 * A slot that is still acquiring *covers* one full batch: it takes those items when it is ready.
 * Only the uncovered rest justifies another slot; otherwise one queued item would acquire twice.
 */
export function decide(key: KeyView, limits: StartLimits, isClosing: boolean): Decision {
  if (key.slots >= limits.keyConcurrency) return "nothing";
  const restItems = key.queuedItems - key.acquiring * limits.maxBatchItems;
  // 0 × Infinity is NaN.
  const restBytes =
    key.acquiring === 0 ? key.queuedBytes : key.queuedBytes - key.acquiring * limits.maxBatchBytes;
  if (restItems <= 0 && restBytes <= 0) return "nothing";

  if (restItems >= limits.maxBatchItems || restBytes >= limits.maxBatchBytes) return "full";
  if (isClosing) return "close";
  if (key.isFlushing) return "flush";
  if (key.slots > 0 && Math.max(restItems, 1) < limits.minBatchItems) return "hold";
  if (key.hasLingered) return "linger";
  if (limits.lingerMs > 0 || limits.holdUntilFull) {
    if (key.isRoomNeeded) return "full";
    return limits.lingerMs > 0 ? "linger-first" : "hold";
  }
  if (key.slots > 0) return "min";
  return key.hasGathered ? "finish" : "idle";
}
