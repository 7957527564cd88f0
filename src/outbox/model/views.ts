/**
 * The types that the outbox shows to operators: messages, deliveries, attempts, lists and figures,
 * and the answers to cancel, redrive and purge. Instants are milliseconds since 1970 UTC on the
 * clock of the store.
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
  readonly subject?: string | undefined;
  readonly template?: string | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
  /** Bytes of the message. */
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
  /** Number of attempts in all cycles. */
  readonly attempts: number;
  readonly template?: string | undefined;
  readonly subject?: string | undefined;
  /** Why the delivery is dead. */
  readonly reason?: string | undefined;
  readonly lastReply?: KeptReply | undefined;
  /** The host that answered the last attempt; see {@link AttemptRow.via}. */
  readonly lastVia?: string | undefined;
  readonly createdAtMs: number;
  /** Only while `pending`; while leased the end of the lease. */
  readonly dueAtMs?: number | undefined;
  /** Only while `pending`: whether a worker has a lease on the delivery. */
  readonly isLeased?: boolean | undefined;
  readonly expiresAtMs: number;
  readonly finishedAtMs?: number | undefined;
  readonly recipients: readonly RecipientRow[];
}

export interface AttemptRow {
  /** From 1, without gaps, over all cycles of the delivery. */
  readonly attemptNo: number;
  readonly cycle: number;
  /**
   * The number within the cycle. An attempt that spends nothing has the number of the one before
   * it; an attempt without a reported outcome has that of the next one.
   */
  readonly cycleAttempt: number;
  readonly worker: string;
  readonly startedAtMs: number;
  readonly finishedAtMs?: number | undefined;
  /** Absent while the final dot is on its way: the intent is written and no reply is recorded. */
  readonly outcome?: AttemptOutcome | undefined;
  readonly reply?: KeptReply | undefined;
  /**
   * The host that answered, such as `mx1.example.net [192.0.2.1]:25 TLSv1.3`; absent if none did.
   */
  readonly via?: string | undefined;
}

export interface ListFilter {
  readonly state?: DeliveryState | undefined;
  readonly route?: string | undefined;
  readonly template?: string | undefined;
  /** Deliveries with a recipient of exactly this address. */
  readonly recipient?: Address | undefined;
  /** Most deliveries of the page, from 1 to 1,000. */
  readonly limit: number;
  /** `next` of the page before. */
  readonly cursor?: string | undefined;
}

export interface Page {
  /** Newest first. */
  readonly deliveries: readonly DeliveryRow[];
  /** Opaque; absent on the last page. */
  readonly next?: string | undefined;
}

/**
 * - `cancelled`: the delivery will not be sent from now on.
 * - `too_late`: the delivery had ended before.
 * - `unknown`: the final dot may be on its way. A delivery that is being sent goes on, and one that
 *   is held in doubt stays so. A delivery that waits for a resend after a doubt is cancelled, but a
 *   worker that counts as crashed may be merely stopped, and may still send the delivery.
 */
export type CancelAnswer = "cancelled" | "too_late" | "unknown";

export interface RedriveOptions {
  /** `undelivered`: recipients without the mail. `all`: also those that have it. */
  readonly recipients: "undelivered" | "all";
  readonly expireAfterMs: number;
  /** Replaces the Message-ID in the bytes from now on. */
  readonly messageIdHeader?: string | undefined;
}

/**
 * `redriven`, or why the delivery was not: it is still `pending` or `in_doubt`, its bytes are
 * `purged`, or it was `delivered` to every recipient.
 */
export type RedriveAnswer = "redriven" | "pending" | "in_doubt" | "purged" | "delivered";

export interface LaneStats {
  readonly lane: Lane;
  /** Pending deliveries. */
  readonly queued: number;
  /** Pending deliveries that are due and not leased. */
  readonly due: number;
  readonly leased: number;
  /** How long the oldest due delivery has been due; absent without one. */
  readonly oldestDueMs?: number | undefined;
}

export interface StoreStats {
  /** Lanes with pending deliveries. */
  readonly lanes: readonly LaneStats[];
  readonly dead: number;
  readonly inDoubt: number;
  readonly blockedRoutes: readonly RouteRow[];
  /** Events that wait for hooks. */
  readonly eventsWaiting: number;
}

/** Ages at which a purge removes rows. One call removes at most `limit` rows of each kind. */
export interface PurgeRequest {
  /** Age of a message's bytes, since its last delivery ended. */
  readonly bytesAfterMs: number;
  /**
   * Age of a message with all its history, unless a delivery is dead or an event waits for hooks.
   */
  readonly rowsAfterMs: number;
  /** Age of a message with a dead delivery, unless an event waits for hooks. */
  readonly deadAfterMs: number;
  /**
   * Age of events, once hooks received them or if no hook was to receive them. An event that waits
   * for a hook is removed after this or `deadAfterMs`, whichever is longer.
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
