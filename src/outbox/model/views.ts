/**
 * What the outbox shows to people: messages, deliveries and attempts as they stand, lists, figures;
 * and the answers to those who cancel, redrive or purge. Instants as in rows.ts.
 */
import type { Address } from "../../mail/index.ts";
import type {
  AttemptOutcome,
  DeliveryState,
  KeptReply,
  Lane,
  RecipientRow,
  RouteRow,
} from "./rows.ts";

export interface MessageRow {
  readonly id: string;
  readonly reversePath: Address;
  readonly messageIdHeader: string;
  readonly subject?: string;
  readonly template?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly size: number;
  /** False once the bytes were purged. */
  readonly hasBytes: boolean;
  readonly createdAtMs: number;
  readonly deliveries: readonly DeliveryRow[];
}

export interface DeliveryRow {
  readonly id: string;
  readonly messageId: string;
  readonly route: string;
  readonly lane: Lane;
  readonly state: DeliveryState;
  readonly cycle: number;
  readonly cycleAttempts: number;
  /** Attempts over its whole life. */
  readonly attempts: number;
  readonly template?: string;
  readonly subject?: string;
  /** Why it is dead. */
  readonly reason?: string;
  readonly lastReply?: KeptReply;
  /** Who answered the last attempt; see {@link AttemptRow.via}. */
  readonly lastVia?: string;
  readonly createdAtMs: number;
  /** While `pending`. */
  readonly dueAtMs?: number;
  /** While `pending`: a worker holds a lease on it. */
  readonly isLeased?: boolean;
  readonly expiresAtMs: number;
  readonly finishedAtMs?: number;
  readonly recipients: readonly RecipientRow[];
}

export interface AttemptRow {
  /** From 1, without gaps, over the whole life of the delivery. */
  readonly attemptNo: number;
  readonly cycle: number;
  /**
   * Number within the cycle; an attempt that spends nothing has that of the one before it, and one of
   * which nobody told the outcome that of the next.
   */
  readonly cycleAttempt: number;
  readonly worker: string;
  readonly startedAtMs: number;
  readonly finishedAtMs?: number;
  /** Absent while the final dot is on its way: the intent was written and no reply was recorded. */
  readonly outcome?: AttemptOutcome;
  readonly reply?: KeptReply;
  /** Who answered, such as `mx1.example.net [192.0.2.1]:25 TLSv1.3`; absent where nobody did. */
  readonly via?: string;
}

export interface ListFilter {
  readonly state?: DeliveryState;
  readonly route?: string;
  readonly template?: string;
  /** Any recipient has exactly this address. */
  readonly recipient?: Address;
  /** At most this many; from 1 to 1,000. */
  readonly limit: number;
  /** What the page before returned as `next`. */
  readonly cursor?: string;
}

export interface Page {
  /** Newest first. */
  readonly deliveries: readonly DeliveryRow[];
  /** Opaque; absent on the last page. */
  readonly next?: string;
}

/**
 * - `cancelled`: nothing of it will be sent from now on.
 * - `too_late`: it had come to an end before.
 * - `unknown`: its final dot may be on its way. A delivery that is being sent goes on, and one that is held
 *   in doubt stays so; what waited to be sent again after a doubt is cancelled, but whoever vanished with
 *   it may only be stopped, and send it yet.
 */
export type CancelAnswer = "cancelled" | "too_late" | "unknown";

export interface RedriveOptions {
  /** `undelivered`: who was not reached. `all`: also who has it already. */
  readonly recipients: "undelivered" | "all";
  readonly expireAfterMs: number;
  /** Takes the place of the Message-ID in the bytes from now on. */
  readonly messageIdHeader?: string;
}

/** Refused: still `pending`, `in_doubt`, the bytes were purged, or nobody is left to reach. */
export type RedriveAnswer = "redriven" | "pending" | "in_doubt" | "purged" | "delivered";

export interface LaneStats {
  readonly lane: Lane;
  /** Undecided deliveries. */
  readonly queued: number;
  /** Of those, due and not leased. */
  readonly due: number;
  readonly leased: number;
  /** How long the oldest due one has been due. */
  readonly oldestDueMs?: number;
}

export interface StoreStats {
  /** Lanes that hold anything. */
  readonly lanes: readonly LaneStats[];
  readonly dead: number;
  readonly inDoubt: number;
  readonly blockedRoutes: readonly RouteRow[];
  /** Events hooks have not heard of yet. */
  readonly eventsWaiting: number;
}

/** What may go, by age. One call removes at most `limit` rows of each kind. */
export interface PurgeRequest {
  /** Bytes of messages whose last delivery ended so long ago. */
  readonly bytesAfterMs: number;
  /**
   * Messages with all their history, unless one of their deliveries is dead, or hooks have yet to hear
   * of an event of theirs.
   */
  readonly rowsAfterMs: number;
  /** Messages with a dead delivery, as far as hooks have heard of it. */
  readonly deadAfterMs: number;
  /**
   * Events that hooks have heard of, or were not to hear of. Those that no hook ever asked for go after
   * this or `deadAfterMs`, whichever is longer.
   */
  readonly eventsAfterMs: number;
  readonly limit: number;
}

export interface PurgeResult {
  readonly bytes: number;
  readonly messages: number;
  readonly events: number;
  readonly idempotencyKeys: number;
}
