/**
 * The one interface both stores implement. Everything a worker or an application may rely on is said
 * here, and test/outbox/contract/contract.ts holds each store to it.
 *
 * Rules that hold for every call:
 * - What a call has answered is durable. A call that rejects with ERR_OUTBOX_STORE has changed
 *   nothing; ERR_OUTBOX_IN_DOUBT says that nobody knows, and every call may then be repeated.
 * - Lists are answered in order, one answer per item; one item never fails another.
 * - Concurrent calls may share a commit; a caller need not gather to be fast.
 * - Only the clock of the store counts. Delays are durations, to which it adds its own `now`.
 * - Whoever changes a delivery under a lease shows its token. A lease that ran out and was taken by
 *   nobody else is still valid; one that was taken, cancelled or released is not.
 * - No call holds a database transaction open for longer than itself.
 */
import type {
  Claim,
  ClaimRequest,
  Completion,
  CompletionResult,
  EnqueueResult,
  EventRow,
  Lane,
  Lease,
  NewMessage,
  Release,
  RouteRow,
} from "./rows.ts";
import type {
  AttemptRow,
  CancelAnswer,
  ListFilter,
  MessageRow,
  Page,
  PurgeRequest,
  PurgeResult,
  RedriveAnswer,
  RedriveOptions,
  StoreStats,
} from "./views.ts";

export interface OutboxStore {
  /** Brings the schema up to date, under a lock, one numbered step after the other. */
  migrate(): Promise<{ readonly from: number; readonly to: number }>;

  /**
   * Checks that the schema in the database is one this program understands.
   *
   * @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION, naming both versions and what to do.
   */
  checkVersion(): Promise<void>;

  /** Milliseconds since 1970 UTC on the clock that decides. */
  now(): Promise<number>;

  /**
   * Stores messages with their deliveries and recipients, each message whole or not at all. An
   * idempotency key that is known yields `duplicate` or `conflict`, also while another call with the
   * same key is still under way, and also within one call.
   */
  enqueue(messages: readonly NewMessage[]): Promise<readonly EnqueueResult[]>;

  /**
   * The same inside a transaction of the caller's: durable, and visible to workers, when the caller
   * commits; gone when it rolls back. Who listens by `onDue` is told a moment later, several times.
   *
   * @throws {OutboxError} ERR_OUTBOX_TRANSACTION when the handle is of no kind this store knows.
   */
  enqueueWithin(
    transaction: TransactionHandle,
    messages: readonly NewMessage[],
  ): Promise<readonly EnqueueResult[]>;

  /**
   * Leases due deliveries, oldest due first: each is invisible to other claims for `leaseMs`, and a
   * row whose lease ran out is due again. Looks at most at `look` due rows; of these, until `limit`
   * are leased,
   *
   * - what has expired is leased to be closed, also while its route is blocked, and never as a probe;
   * - those of `exceptRoutes` go to the lane `local`, where they are as due as before;
   * - those of a blocked route are put off until `blockedUntilMs`; once that is past, one is leased as
   *   `probe`, the route counts as blocked for `leaseMs` more, and the others are put off until then;
   * - those beyond the room of their route are put off for `putOffMs`;
   * - the rest is leased. Where a former lease was still set, `crashes` goes up by one, and `inDoubt`
   *   says whether an attempt is open: an intent without a completion, or a lease without intents.
   *
   * Policy is the caller's: what has expired, crashed too often or is in doubt is leased like
   * anything else and comes back through `complete` or `release`.
   */
  claim(request: ClaimRequest): Promise<Claim>;

  /** The bytes of a message; `undefined` if they were purged. */
  body(message: number): Promise<Uint8Array | undefined>;

  /** Extends leases to `leaseMs` from now. False for each that is not valid any more: abort its send. */
  renew(leases: readonly Lease[], leaseMs: number): Promise<readonly boolean[]>;

  /**
   * Writes, before the final dot, that it is about to be sent: an attempt without an outcome. False
   * for each lease that is not valid any more: nothing was written and the dot must not be sent.
   * Repeating it for the same lease changes nothing and answers the same.
   */
  intend(
    intents: readonly (Lease & { readonly worker: string; readonly elapsedMs: number })[],
  ): Promise<readonly boolean[]>;

  /**
   * Writes outcomes and ends their leases: recipients, attempt, state, queue and events together.
   *
   * `done`, `dead` and `in_doubt` take the delivery out of the queue; `retry` makes it due after
   * `delayMs` in its own lane. All reset `crashes`. An attempt takes the number of its intent, or the
   * next one; if it `spends`, `cycleAttempts` goes up by one. Only recipients that are `pending` or
   * `deferred` change. `dead` makes `failed` of those that are left.
   *
   * Of a lease that is not valid any more only success counts, see {@link CompletionResult}. That
   * holds in every state: what turns out delivered is not `in_doubt`, `dead` or `cancelled` any more
   * if that was its last undelivered recipient. Repeating a completion adds nothing, and is answered
   * as the first time if there was an attempt: who did not hear the answer may ask again.
   */
  complete(completions: readonly Completion[]): Promise<readonly CompletionResult[]>;

  /**
   * Gives leases back unspent, due after `delayMs`; `crashes` and a doubt stay. An intent that was
   * written is closed as `deferred`: its dot was not sent. False where not valid any more.
   */
  release(releases: readonly Release[]): Promise<readonly boolean[]>;

  /** Milliseconds until something in the lane is due, zero if something is; `undefined` if it is empty. */
  nextDue(lane: Lane): Promise<number | undefined>;

  /**
   * Calls `listener` whenever something may have become due earlier than `nextDue` said: enqueued by
   * this process, or made known by another. It is told the lane, or nothing when it may be any of
   * them. May be called too often, and from another process late or never: who waits must poll all
   * the same. Returns how to stop it.
   */
  onDue(listener: DueListener): () => void;

  /**
   * Blocks a route that failed, for `delaysMs[k]` after its k-th failure in a row (the last one for
   * all further), and writes `route.blocked`. A failure while it is blocked, unless by its probe,
   * counts nothing: many deliveries fail together.
   */
  blockRoute(request: {
    readonly route: string;
    readonly reason: string;
    readonly delaysMs: readonly number[];
    readonly isProbe: boolean;
    readonly notify: boolean;
  }): Promise<RouteRow>;

  /**
   * Opens a route that works again, and makes due what was put off because of it, at most `limit`
   * rows a call; writes `route.restored` if it was blocked. Returns the rows made due: call again
   * while it is `limit`.
   */
  restoreRoute(request: {
    readonly route: string;
    readonly limit: number;
    readonly notify: boolean;
  }): Promise<number>;

  /**
   * Cancels one delivery, or all of a message, by public id. A leased delivery is cancelled exactly
   * too, as long as no intent is written: its worker will be refused the intent. Writes
   * `delivery.cancelled`. Empty if the id is unknown. An attempt that somebody else closed, or nobody,
   * makes the answer `unknown` in whichever state.
   */
  cancel(
    id: string,
    options: { readonly notify: boolean },
  ): Promise<readonly { readonly id: string; readonly answer: CancelAnswer }[]>;

  /**
   * Starts a new cycle for one ended delivery, or all of a message: due now, its own attempts from
   * none, attempt numbers going on, history kept. Empty if the id is unknown.
   */
  redrive(
    id: string,
    options: RedriveOptions,
  ): Promise<readonly { readonly id: string; readonly answer: RedriveAnswer }[]>;

  /**
   * Ends the doubt about a delivery that is held: `sent` makes `delivered` of its undecided
   * recipients and writes the event of its end; `resend` makes it due now, in the same cycle, and
   * to expire no sooner than `RESEND_GRACE_MS` from now.
   */
  resolveDoubt(
    id: string,
    truth: "sent" | "resend",
    options: { readonly notify: boolean },
  ): Promise<"resolved" | "not_in_doubt" | "not_found">;

  /** One message with its deliveries and recipients, by its public id or that of a delivery. */
  get(id: string): Promise<MessageRow | undefined>;

  /** Deliveries, newest first. @throws {OutboxError} ERR_OUTBOX_OPTION for a cursor it did not make. */
  list(filter: ListFilter): Promise<Page>;

  /** The attempts of a delivery, in order; empty if there are none, or the id is unknown. */
  attempts(deliveryId: string): Promise<readonly AttemptRow[]>;

  /** Leases the oldest events that hooks have not heard of, for `leaseMs`. */
  claimEvents(request: {
    readonly limit: number;
    readonly leaseMs: number;
  }): Promise<readonly EventRow[]>;

  /** Says that hooks have heard of these events; they stay as history until they are purged. */
  acknowledgeEvents(seqs: readonly number[]): Promise<void>;

  /** Makes leased events due again after `delayMs`, because a hook failed. */
  deferEvents(seqs: readonly number[], delayMs: number): Promise<void>;

  /** Removes what is old enough; never what is undecided, and no key before its time. */
  purge(request: PurgeRequest): Promise<PurgeResult>;

  stats(): Promise<StoreStats>;

  /** Waits for the calls under way and closes. Idempotent. */
  close(): Promise<void>;
}

/** Hears that a lane may have something due; without a lane, that any of them may. */
export type DueListener = (lane?: Lane) => void;

/**
 * A transaction of the caller's.
 *
 * `query` is the documented way for every library: it runs one statement with positional parameters
 * (`$1` on PostgreSQL, `?` on SQLite) and gives the rows as objects. `prepare` is a `DatabaseSync` of
 * node:sqlite or a `Database` of better-sqlite3 that has the file of the store open.
 */
export type TransactionHandle = QueryHandle | PrepareHandle;

export interface QueryHandle {
  query(
    text: string,
    values: unknown[],
  ): Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[] }>;
}

export interface PrepareHandle {
  prepare(sql: string): { all(...values: never[]): unknown[]; run(...values: never[]): unknown };
}
