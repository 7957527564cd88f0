/**
 * The data of the outbox as stores accept and return it: messages, deliveries, recipients,
 * attempts, routes, events. The database uses the same words.
 *
 * A *message* is immutable bytes. A *delivery* is a message on its way over one route, and the unit
 * that a worker leases. A *recipient* has its own status. Row keys are integers and stay inside the
 * room; the public id of a message is a UUID of version 7, that of a delivery `<message
 * id>.<ordinal>`.
 *
 * Every instant is milliseconds since 1970 UTC on the clock of the store, the only clock that
 * counts: callers give delays as durations, and workers measure the rest of a lease on a monotonic
 * clock.
 */
import type { Address, ReplyPhase } from "../../mail/index.ts";

/** The status of one recipient: `pending` was not tried yet, `deferred` is to be tried again. */
export type RecipientStatus = "pending" | "delivered" | "deferred" | "failed" | "suppressed";

/**
 * `pending` has a row in the queue; `in_doubt` waits for an operator to say whether it was sent.
 */
export type DeliveryState = "pending" | "done" | "dead" | "cancelled" | "in_doubt";

/**
 * A queue of its own for one kind of delivery. `quarantine`: deliveries whose workers crashed
 * several times in a row; a worker leases one at a time. `local`: deliveries for workers that have
 * the mailboxes. A mail may choose only among the other three.
 */
export type Lane = "critical" | "normal" | "bulk" | "quarantine" | "local";

/** The number of each lane in the database. */
export const laneNumbers = { critical: 0, normal: 1, bulk: 2, quarantine: 3, local: 4 } as const;

/** The header field of an address; the envelope does not distinguish them. */
export type RecipientKind = "to" | "cc" | "bcc";

/**
 * What to do with a delivery in doubt: its final dot may have been sent, and no reply was stored
 * before its lease ended. `hold`: it waits until an operator resolves it.
 */
export type DoubtPolicy = "resend" | "hold";

/** A delivery that an operator resends expires no sooner than this from now: one day. */
export const resendGraceMs = 24 * 60 * 60 * 1000;

/** A reply as it is stored: no control characters, well-formed Unicode, at most 500 characters. */
export interface KeptReply {
  readonly code: number;
  readonly enhanced?: string | undefined;
  readonly text: string;
  readonly phase: ReplyPhase;
}

/* ---------------------------------------------------------------- in */

/** A message to be stored, complete: the store decides nothing about it. */
export interface NewMessage {
  /** UUID version 7, lower-case. */
  readonly id: string;
  /** Reverse-path of the envelope; `""` is the null path. */
  readonly reversePath: Address;
  /** The bytes that every attempt sends, with CRLF as the only line ending. */
  readonly bytes: Uint8Array;
  /** The Message-ID in those bytes, with its angle brackets. */
  readonly messageIdHeader: string;
  /** For lists; cut to 200 characters. */
  readonly subject?: string | undefined;
  /** A label of the application, for logs and hooks. */
  readonly template?: string | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
  readonly doubt: DoubtPolicy;
  readonly lane: Lane;
  /** Not due before this instant; due at once if it is past or absent. */
  readonly sendAtMs?: number | undefined;
  /** No attempt starts after this instant. @defaultValue `expireAfterMs` after it is due */
  readonly expiresAtMs?: number | undefined;
  readonly expireAfterMs: number;
  /** At least one, each with at least one recipient; routes differ. */
  readonly deliveries: readonly NewDelivery[];
  readonly idempotency?: IdempotencyKey | undefined;
}

export interface NewDelivery {
  /** The name of a relay, or a domain in ASCII. */
  readonly route: string;
  readonly recipients: readonly { readonly address: Address; readonly kind: RecipientKind }[];
}

export interface IdempotencyKey {
  /** Equal keys of different scopes are different keys. */
  readonly scope: string;
  readonly key: string;
  /** SHA-256 of what the application passed, before Message-ID, Date or boundaries are added. */
  readonly contentSha256: Uint8Array;
  /** How long the key is remembered, in whatever state the message is. */
  readonly keepMs: number;
}

/** `duplicate`: the key is known with the same content; `id` is the message of its first use. */
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
  /** Most due rows to read, whether they are then leased or put off. @defaultValue limit */
  readonly maxRows?: number | undefined;
  readonly leaseMs: number;
  /** Name of the worker, for the attempts it makes. */
  readonly worker: string;
  /** Bodies up to this size come with the claim; `body` reads larger ones. */
  readonly inlineBytes: number;
  /**
   * Whether the worker writes an intent (an attempt without an outcome) before each final dot.
   * Without intents a leased delivery cannot be cancelled, and every expired lease is in doubt.
   */
  readonly intents: boolean;
  /** Most deliveries to lease of one route. */
  readonly routeRoom: number;
  /**
   * Routes with less room than `routeRoom`, because they have deliveries under way; 0 for no room.
   */
  readonly busyRoutes?: readonly { readonly route: string; readonly room: number }[] | undefined;
  /** Routes whose due deliveries move to the lane `local`, for other workers. @defaultValue none */
  readonly exceptRoutes?: readonly string[] | undefined;
  /** How long deliveries beyond the room of their route are put off. */
  readonly putOffMs: number;
}

export interface Claim {
  /** In the order of their due times. */
  readonly deliveries: readonly ClaimedDelivery[];
  /** Number of due rows not leased: moved to `local`, beyond the room, or of a blocked route. */
  readonly putOff: number;
}

/** A leased delivery with all that a worker needs to decide and to send. */
export interface ClaimedDelivery extends Lease {
  /** Public ids. */
  readonly id: string;
  readonly messageId: string;
  /** Row key of the message, for `body`. */
  readonly message: number;
  readonly route: string;
  readonly lane: Lane;
  readonly reversePath: Address;
  /** All recipients, in order; the worker sends to those that are `pending` or `deferred`. */
  readonly recipients: readonly RecipientRow[];
  readonly size: number;
  /** Absent above `inlineBytes`. */
  readonly bytes?: Uint8Array | undefined;
  /** Replaces the Message-ID in the bytes, after a redrive with a new one. */
  readonly messageIdHeader?: string | undefined;
  readonly template?: string | undefined;
  readonly doubtPolicy: DoubtPolicy;
  /** 1 for the first cycle; a redrive starts the next. */
  readonly cycle: number;
  /** Attempts spent in this cycle so far. */
  readonly cycleAttempts: number;
  /** Leases in a row that expired without an outcome or a release, up to this one. */
  readonly crashes: number;
  /** A former holder of the lease may have sent the final dot, and the reply is unknown. */
  readonly inDoubt: boolean;
  /** The last reply in any cycle, also of a route that failed. */
  readonly lastReply?: KeptReply | undefined;
  /** Time from the claim to the delivery's expiry; zero or less if the delivery has expired. */
  readonly expiresInMs: number;
  /** How long the delivery had been due at the claim. */
  readonly lateMs: number;
  /** The route was blocked, and this is the one delivery that probes it. */
  readonly isProbe: boolean;
}

export interface RecipientRow {
  /** From 0, within the delivery. */
  readonly ordinal: number;
  readonly address: Address;
  readonly kind: RecipientKind;
  readonly status: RecipientStatus;
  readonly reply?: KeptReply | undefined;
}

/** The outcome of one lease. All of it becomes durable together, or nothing. */
export interface Completion extends Lease {
  /** Absent without an attempt: the delivery had expired, was poison or is held. */
  readonly attempt?: NewAttempt | undefined;
  /** Only the recipients that changed. */
  readonly recipients: readonly RecipientChange[];
  readonly next: Next;
  /** Closes open attempts of former holders as `in_doubt`. */
  readonly closesDoubt?: boolean | undefined;
  readonly events: readonly NewEvent[];
}

export interface NewAttempt {
  readonly worker: string;
  /** Time from the start of the attempt to the call of the store. */
  readonly elapsedMs: number;
  readonly outcome: AttemptOutcome;
  /** Whether the attempt counts against the budget of the cycle. */
  readonly spends: boolean;
  /** The reply that decided the outcome. */
  readonly reply?: KeptReply | undefined;
  /** The host that answered; where recipients differ, that of the first with an answer. */
  readonly via?: string | undefined;
}

/** `partial`: some recipients were delivered, others not. `in_doubt`: the reply is not known. */
export type AttemptOutcome = "delivered" | "partial" | "deferred" | "failed" | "in_doubt";

export interface RecipientChange {
  readonly ordinal: number;
  readonly status: "delivered" | "deferred" | "failed";
  readonly reply: KeptReply;
}

/** The next state of the delivery. */
export type Next =
  | { readonly kind: "done" }
  | { readonly kind: "retry"; readonly delayMs: number }
  | { readonly kind: "dead"; readonly reason: string }
  | { readonly kind: "in_doubt" };

/**
 * - `settled`: the lease was valid and everything was written, by this call or an earlier one with
 *   the same completion; `attemptNo` if there was an attempt.
 * - `lost`: the lease was not valid any more. Delivered recipients are stored as delivered, with
 *   their attempt (`attemptNo`), and nothing else changes. `finished`: this call decided the last
 *   recipient. The event of the end is then written too, with `{ late: true }` as data, or
 *   `delivery.late` if an end was written before. Hooks receive that event if they were to receive
 *   any event of the completion.
 */
export type CompletionResult =
  | { readonly kind: "settled"; readonly attemptNo?: number | undefined }
  | { readonly kind: "lost"; readonly attemptNo?: number | undefined; readonly finished: boolean };

export interface Release extends Lease {
  readonly delayMs: number;
  /** Moves the delivery to another lane, until the next completion moves it back. */
  readonly lane?: Lane | undefined;
  /** The new last reply, when a route failed. */
  readonly reply?: KeptReply | undefined;
}

/* ---------------------------------------------------------------- routes and events */

export interface RouteRow {
  readonly route: string;
  /** Failures in a row; 0 while the route works. */
  readonly failures: number;
  /** The route's deliveries are put off until this instant; after it one probes the route. */
  readonly blockedUntilMs?: number | undefined;
  readonly reason?: string | undefined;
}

/** The first three are ends: exactly one end is written per delivery and cycle. */
export type EventType =
  | "delivery.done"
  | "delivery.dead"
  | "delivery.cancelled"
  /** A worker whose lease was lost delivered, after another end had been written. */
  | "delivery.late"
  | "delivery.deferred"
  | "delivery.in_doubt"
  | "route.blocked"
  | "route.restored";

export interface NewEvent {
  readonly type: EventType;
  /** Stored as JSON. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Whether hooks receive it; otherwise it is history only. */
  readonly notify: boolean;
}

export interface EventRow {
  /** Increasing; not without gaps. */
  readonly seq: number;
  readonly type: EventType;
  readonly deliveryId?: string | undefined;
  readonly messageId?: string | undefined;
  readonly cycle?: number | undefined;
  readonly atMs: number;
  readonly data: Readonly<Record<string, unknown>>;
  /** How often the event was leased before. */
  readonly tries: number;
}
