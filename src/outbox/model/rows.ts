/**
 * What the outbox keeps, as the stores give and take it: messages, deliveries, recipients, attempts,
 * routes, events. The words here are the words in the database.
 *
 * A *message* is immutable bytes; a *delivery* is a message on its way over one route, and the unit a
 * worker leases; a *recipient* has its own status. Row keys are integers and stay inside the room;
 * the public id of a message is a UUID (version 7), that of a delivery is `<message id>.<ordinal>`.
 *
 * Every instant is milliseconds since 1970 UTC on the clock of the store. Nobody else's clock decides
 * anything: delays go in as durations, and what remains of a lease is measured on a monotonic clock.
 */
import type { Address, ReplyPhase } from "../../mail/index.ts";

/** What became of one recipient. `pending` was not tried yet, `deferred` is to be tried again. */
export type RecipientStatus = "pending" | "delivered" | "deferred" | "failed" | "suppressed";

/** `pending` has a row in the queue; `in_doubt` waits for somebody who knows whether it was sent. */
export type DeliveryState = "pending" | "done" | "dead" | "cancelled" | "in_doubt";

/**
 * `quarantine` holds what its worker did not survive several times; it is leased alone. `local` holds what
 * some workers may not take, where those that have the mailboxes find it. Neither is asked for at enqueue.
 */
export type Lane = "critical" | "normal" | "bulk" | "quarantine" | "local";

/** The number of each lane in the database. */
export const laneNumbers = { critical: 0, normal: 1, bulk: 2, quarantine: 3, local: 4 } as const;

/** Where an address stood in the mail; the envelope makes no difference between them. */
export type RecipientKind = "to" | "cc" | "bcc";

/** What to do when a lease ran out between the final dot and the record of the reply. */
export type DoubtPolicy = "resend" | "hold";

/** What is resent on somebody's word expires no sooner than this from now: one day. */
export const RESEND_GRACE_MS = 24 * 60 * 60 * 1000;

/** A reply as it is kept: no NUL, well-formed Unicode, cut to 500 characters. */
export interface KeptReply {
  readonly code: number;
  readonly enhanced?: string;
  readonly text: string;
  readonly phase: ReplyPhase;
}

/* ---------------------------------------------------------------- in */

/** A message to be stored, complete: nothing is left for the store to decide. */
export interface NewMessage {
  /** UUID version 7, lower-case. */
  readonly id: string;
  /** Reverse-path of the envelope; `""` is the null path. */
  readonly reversePath: Address;
  /** The bytes as they will be sent on every attempt, with canonical CRLF. */
  readonly bytes: Uint8Array;
  /** The Message-ID in those bytes, with its angle brackets. */
  readonly messageIdHeader: string;
  /** For lists; cut to 200 characters. */
  readonly subject?: string;
  /** A label of the application, for logs and hooks. */
  readonly template?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly doubt: DoubtPolicy;
  readonly lane: Lane;
  /** Not before this instant; due at once if it is past or left out. */
  readonly sendAtMs?: number;
  /** No attempt starts after this instant. Without it: `expireAfterMs` from the moment it is due. */
  readonly expiresAtMs?: number;
  readonly expireAfterMs: number;
  /** At least one, each with at least one recipient; routes differ. */
  readonly deliveries: readonly NewDelivery[];
  readonly idempotency?: IdempotencyKey;
}

export interface NewDelivery {
  /** Name of a relay, or a domain as ASCII. */
  readonly route: string;
  readonly recipients: readonly { readonly address: Address; readonly kind: RecipientKind }[];
}

export interface IdempotencyKey {
  /** Keys of different scopes do not meet. */
  readonly scope: string;
  readonly key: string;
  /** 32 octets over what the application asked for, before anything was added to it. */
  readonly contentSha256: Uint8Array;
  /** How long the key is remembered, whatever becomes of the message. */
  readonly keepMs: number;
}

/** `duplicate`: the key is known with this content, and `id` is the message it made. */
export type EnqueueResult =
  | { readonly kind: "stored" | "duplicate"; readonly id: string }
  /** The key is known with other content; nothing was stored. */
  | { readonly kind: "conflict"; readonly id: string };

/* ---------------------------------------------------------------- lease */

/** Names one lease of one delivery. A token is never used twice for the same delivery. */
export interface Lease {
  readonly delivery: number;
  readonly token: number;
}

export interface ClaimRequest {
  readonly lane: Lane;
  /** Most deliveries to lease. */
  readonly limit: number;
  /** Most due rows to look at, whether they end up leased or put off. @defaultValue limit */
  readonly look?: number;
  readonly leaseMs: number;
  /** Name of the worker, for the attempts it makes. */
  readonly worker: string;
  /** Bodies up to this size come with the claim; larger ones are fetched by `body`. */
  readonly inlineBytes: number;
  /**
   * Whether the worker will write an intent before each final dot. Without, a leased delivery can
   * not be cancelled any more and an expired lease is always in doubt.
   */
  readonly intents: boolean;
  /** Most deliveries leased of any one route. */
  readonly routeRoom: number;
  /** Routes with less room than that, because deliveries of theirs are in flight; 0 for none. */
  readonly busyRoutes?: readonly { readonly route: string; readonly room: number }[];
  /** Routes to leave to others: what is due there goes to the lane `local`. @defaultValue none */
  readonly exceptRoutes?: readonly string[];
  /** How long what exceeds the room of its route is put off. */
  readonly putOffMs: number;
}

export interface Claim {
  /** In order of due time. */
  readonly deliveries: readonly ClaimedDelivery[];
  /** Due rows that were left to others, or put off for want of room or until their route is tried again. */
  readonly putOff: number;
}

/** A leased delivery with all a worker needs to decide and to send. */
export interface ClaimedDelivery extends Lease {
  /** Public ids. */
  readonly id: string;
  readonly messageId: string;
  /** Row key of the message, for `body`. */
  readonly message: number;
  readonly route: string;
  readonly lane: Lane;
  readonly reversePath: Address;
  /** All of them, in order; what is `pending` or `deferred` is to be sent. */
  readonly recipients: readonly RecipientRow[];
  readonly size: number;
  /** Absent above `inlineBytes`. */
  readonly bytes?: Uint8Array;
  /** Takes the place of the Message-ID in the bytes, after a redrive that asked for a new one. */
  readonly messageIdHeader?: string;
  readonly template?: string;
  readonly doubtPolicy: DoubtPolicy;
  /** 1 for the first cycle; a redrive starts the next. */
  readonly cycle: number;
  /** Attempts spent in this cycle so far. */
  readonly cycleAttempts: number;
  /** Leases in a row that ran out without a word from their holder, up to this one. */
  readonly crashes: number;
  /** A former holder may have sent the final dot, and nobody knows what was answered. */
  readonly inDoubt: boolean;
  /** What was answered last, in whichever cycle, also by a route that failed. */
  readonly lastReply?: KeptReply;
  /** Time until it expires, at the claim; zero or less means that it has. */
  readonly expiresInMs: number;
  /** How long it had been due. */
  readonly lateMs: number;
  /** The route was blocked, and this is the one delivery that tries it. */
  readonly isProbe: boolean;
}

export interface RecipientRow {
  /** From 0, within the delivery. */
  readonly ordinal: number;
  readonly address: Address;
  readonly kind: RecipientKind;
  readonly status: RecipientStatus;
  readonly reply?: KeptReply;
}

/** What to write for one lease. All of it becomes durable together, or nothing. */
export interface Completion extends Lease {
  /** Absent when nothing was tried: the delivery was expired, poison or held. */
  readonly attempt?: NewAttempt;
  /** Only what changed. */
  readonly recipients: readonly RecipientChange[];
  readonly next: Next;
  /** Closes, as `in_doubt`, attempts of former holders that are still open. */
  readonly closesDoubt?: boolean;
  readonly events: readonly NewEvent[];
}

export interface NewAttempt {
  readonly worker: string;
  /** From its start to now. */
  readonly elapsedMs: number;
  readonly outcome: AttemptOutcome;
  /** Whether it counts against the budget of the cycle. */
  readonly spends: boolean;
  /** The reply that decided it. */
  readonly reply?: KeptReply;
  /** Who answered; where recipients differ, the first of them with an answer. */
  readonly via?: string;
}

/** `partial`: some recipients were delivered. `in_doubt`: the reply was never recorded. */
export type AttemptOutcome = "delivered" | "partial" | "deferred" | "failed" | "in_doubt";

export interface RecipientChange {
  readonly ordinal: number;
  readonly status: "delivered" | "deferred" | "failed";
  readonly reply: KeptReply;
}

/** What becomes of the delivery. */
export type Next =
  | { readonly kind: "done" }
  | { readonly kind: "retry"; readonly delayMs: number }
  | { readonly kind: "dead"; readonly reason: string }
  | { readonly kind: "in_doubt" };

/**
 * - `settled`: the lease was valid, everything was written, now or when it was asked for before;
 *   `attemptNo` if there was an attempt.
 * - `lost`: the lease was not valid any more. Recipients that were delivered are recorded as facts,
 *   with their attempt (`attemptNo`), and decide whoever was undecided; nothing else was changed.
 *   `finished` says that this decided the last recipient. Its event is then written too, with
 *   `{ late: true }` as data: that of the end, or `delivery.late` if an end was written before. Hooks
 *   hear of it if they were to hear of any event of the completion.
 */
export type CompletionResult =
  | { readonly kind: "settled"; readonly attemptNo?: number }
  | { readonly kind: "lost"; readonly attemptNo?: number; readonly finished: boolean };

export interface Release extends Lease {
  readonly delayMs: number;
  /** Moves it to another lane; back to its own with the next completion. */
  readonly lane?: Lane;
  /** What to show as the last reply, when a route failed. */
  readonly reply?: KeptReply;
}

/* ---------------------------------------------------------------- routes and events */

export interface RouteRow {
  readonly route: string;
  /** Failures in a row; 0 when it works. */
  readonly failures: number;
  /** Deliveries are put off until then, and one tries it after. */
  readonly blockedUntilMs?: number;
  readonly reason?: string;
}

/** The three ends, and what may come around. Exactly one end is written per delivery and cycle. */
export type EventType =
  | "delivery.done"
  | "delivery.dead"
  | "delivery.cancelled"
  /** Delivered after all, by a worker that had lost its lease, when the end had been written. */
  | "delivery.late"
  | "delivery.deferred"
  | "delivery.in_doubt"
  | "route.blocked"
  | "route.restored";

export interface NewEvent {
  readonly type: EventType;
  /** Kept as JSON. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Whether hooks are to hear of it; otherwise it is history only. */
  readonly notify: boolean;
}

export interface EventRow {
  /** Increasing; not without gaps. */
  readonly seq: number;
  readonly type: EventType;
  readonly deliveryId?: string;
  readonly messageId?: string;
  readonly cycle?: number;
  readonly atMs: number;
  readonly data: Readonly<Record<string, unknown>>;
  /** How often it was leased before. */
  readonly tries: number;
}
