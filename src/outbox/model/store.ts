/**
 * The interface of both stores (`../postgres`, `../sqlite`), with everything that a worker or an
 * application may rely on; test/outbox/contract/contract.ts tests each store against it. A lane is
 * a queue of its own for one kind of delivery. Rules for every call:
 *
 * - A write is durable when its call resolves. A call that rejects with ERR_OUTBOX_STORE changed
 *   nothing. After ERR_OUTBOX_IN_DOUBT the result is unknown; every call may then be repeated.
 * - Lists are answered in order, one answer per item; one item never fails another.
 * - Concurrent calls may share a commit; a caller need not gather calls to be fast.
 * - Only the clock of the store counts. Delays are durations, to which it adds its own `now`.
 * - A change under a lease names its token. An expired lease is valid until another claim takes it;
 *   a lease that was taken, cancelled or released is not.
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
  /** Migrates the schema to the newest version, under a lock, by numbered steps. */
  migrate(): Promise<{ readonly from: number; readonly to: number }>;

  /**
   * Checks that this program understands the schema in the database.
   *
   * @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION with both versions and what to do.
   */
  checkVersion(): Promise<void>;

  /** Milliseconds since 1970 UTC on the clock of the store. */
  now(): Promise<number>;

  /**
   * Stores messages with their deliveries and recipients, each message whole or not at all. A known
   * idempotency key gives `duplicate` or `conflict`, also while another call with the same key is
   * under way, and also within one call.
   */
  enqueue(messages: readonly NewMessage[]): Promise<readonly EnqueueResult[]>;

  /**
   * Enqueues as `enqueue` does, but inside a transaction of the caller: the messages are durable
   * and visible to workers when the caller commits, gone when it rolls back. Listeners of `onDue`
   * are called three times within 305 ms, because the store does not learn of the commit.
   *
   * @throws {OutboxError} ERR_OUTBOX_TRANSACTION for a handle of a kind that this store cannot use.
   */
  enqueueWithin(
    transaction: TransactionHandle,
    messages: readonly NewMessage[],
  ): Promise<readonly EnqueueResult[]>;

  /**
   * Leases due deliveries, oldest due first: each is invisible to other claims for `leaseMs`, and a
   * row whose lease expired is due again. Reads at most `maxRows` due rows. Until `limit`
   * deliveries are leased, the rows read fare as follows:
   *
   * - expired deliveries are leased, to be closed, also on a blocked route, and never as a probe;
   * - deliveries of `exceptRoutes` move to the lane `local`, and their due times stay;
   * - deliveries of a blocked route are put off until `blockedUntilMs`. After that instant one is
   *   leased with `isProbe`, the route is blocked for `leaseMs` more, and its others are put off
   *   until the new end of the block;
   * - deliveries beyond the room of their route are put off for `putOffMs`;
   * - all others are leased. If a former lease had expired without completion or release, `crashes`
   *   goes up by one, and `inDoubt` shows whether an attempt is open: an intent without a
   *   completion, or a lease without intents.
   *
   * The caller decides the policy: a delivery that has expired, crashed too often or is in doubt is
   * leased like any other, and ends through `complete` or `release`.
   */
  claim(request: ClaimRequest): Promise<Claim>;

  /** Reads the bytes of a message; `undefined` if they were purged. */
  body(message: number): Promise<Uint8Array | undefined>;

  /** Extends leases to `leaseMs` from now. False for each invalid lease: abort its send. */
  renew(leases: readonly Lease[], leaseMs: number): Promise<readonly boolean[]>;

  /**
   * Writes an intent before the final dot: an attempt without an outcome. False for each invalid
   * lease: nothing was written, and the dot must not be sent. A repetition for one lease changes
   * nothing and gets the first answer again.
   */
  intend(
    intents: readonly (Lease & { readonly worker: string; readonly elapsedMs: number })[],
  ): Promise<readonly boolean[]>;

  /**
   * Writes outcomes and ends their leases: recipients, attempt, state, queue and events together.
   *
   * `done`, `dead` and `in_doubt` remove the delivery from the queue; `retry` makes it due after
   * `delayMs` in its message's lane. All reset `crashes`. An attempt gets its intent's number, or
   * the next one; if it `spends`, `cycleAttempts` goes up by one. Only recipients that are
   * `pending` or `deferred` change; `dead` changes the remaining ones to `failed`.
   *
   * Under an invalid lease only delivered recipients are stored, see {@link CompletionResult}. This
   * holds in every state: a delivery that is `in_doubt`, `dead` or `cancelled` changes if its last
   * undelivered recipient turns out delivered. A repeated completion adds nothing; if it has an
   * attempt, it gets the first answer again, so a caller that lost the answer may repeat the call.
   */
  complete(completions: readonly Completion[]): Promise<readonly CompletionResult[]>;

  /**
   * Releases leases without spending an attempt; the deliveries are due after `delayMs`, and their
   * `crashes` and doubts stay. An intent of the released lease is closed as `deferred`: its dot was
   * not sent. False for each invalid lease.
   */
  release(releases: readonly Release[]): Promise<readonly boolean[]>;

  /**
   * Milliseconds until the next delivery of the lane is due, zero if one is due; `undefined` if the
   * lane is empty.
   */
  nextDue(lane: Lane): Promise<number | undefined>;

  /**
   * Calls `listener` when a delivery may be due earlier than `nextDue` answered: one that this
   * process enqueued, or of which another process notified it. The argument is the lane; without
   * one it may be any lane. The listener may be called too often, and for mail of another process
   * late or never: waiters must also poll. Returns a function that removes the listener.
   */
  onDue(listener: DueListener): () => void;

  /**
   * Blocks a failed route for the k-th of `delaysMs` after its k-th failure in a row, for the last
   * of `delaysMs` after all further failures, and writes the event `route.blocked`. Many deliveries
   * fail together, so only the failure of the probe counts during the block.
   */
  blockRoute(request: {
    readonly route: string;
    readonly reason: string;
    readonly delaysMs: readonly number[];
    readonly isProbe: boolean;
    readonly notify: boolean;
  }): Promise<RouteRow>;

  /**
   * Opens a route that works again and makes the deliveries that its block put off due, at most
   * `limit` a call; writes the event `route.restored` if the route was blocked. Returns the number
   * of deliveries made due: repeat the call while that is `limit`.
   */
  restoreRoute(request: {
    readonly route: string;
    readonly limit: number;
    readonly notify: boolean;
  }): Promise<number>;

  /**
   * Cancels one delivery, or all of a message, by public id, and writes the event
   * `delivery.cancelled`. A leased delivery is cancelled too as long as it has no intent: `intend`
   * then answers its worker false. Empty if the id is unknown. An attempt that is open, or that
   * another holder closed, makes the answer `unknown` in every state.
   */
  cancel(
    id: string,
    options: { readonly notify: boolean },
  ): Promise<readonly { readonly id: string; readonly answer: CancelAnswer }[]>;

  /**
   * Starts a new cycle for one ended delivery, or all of a message: it is due now and has a full
   * budget of attempts; attempt numbers and history continue. Empty if the id is unknown.
   */
  redrive(
    id: string,
    options: RedriveOptions,
  ): Promise<readonly { readonly id: string; readonly answer: RedriveAnswer }[]>;

  /**
   * Ends the doubt about a held delivery. `sent` changes its undecided recipients to `delivered`
   * and writes the event of its end; `resend` makes the delivery due now, in its present cycle,
   * with an expiry no sooner than `resendGraceMs` from now.
   */
  resolveDoubt(
    id: string,
    truth: "sent" | "resend",
    options: { readonly notify: boolean },
  ): Promise<"resolved" | "not_in_doubt" | "not_found">;

  /** Reads a message with its deliveries and recipients, by its public id or that of a delivery. */
  get(id: string): Promise<MessageRow | undefined>;

  /**
   * Lists deliveries, newest first. @throws {OutboxError} ERR_OUTBOX_OPTION for an unknown cursor.
   */
  list(filter: ListFilter): Promise<Page>;

  /** Lists the attempts of a delivery, in order; empty if it has none or the id is unknown. */
  attempts(deliveryId: string): Promise<readonly AttemptRow[]>;

  /** Leases the oldest events that wait for hooks: no other call gets them for `leaseMs`. */
  claimEvents(request: {
    readonly limit: number;
    readonly leaseMs: number;
  }): Promise<readonly EventRow[]>;

  /**
   * Ends the wait of these events, because hooks received them; they stay as history until purged.
   */
  acknowledgeEvents(seqs: readonly number[]): Promise<void>;

  /** Makes leased events due again after `delayMs`, because a hook failed. */
  deferEvents(seqs: readonly number[], delayMs: number): Promise<void>;

  /** Removes old rows; none of pending or in-doubt deliveries, no key before its `keepMs`. */
  purge(request: PurgeRequest): Promise<PurgeResult>;

  stats(): Promise<StoreStats>;

  /** Waits for the pending calls and closes; later calls reject. Idempotent. */
  close(): Promise<void>;
}

/** Called when a delivery of the lane may be due; without a lane, one of any lane. */
export type DueListener = (lane?: Lane) => void;

/**
 * A transaction of the caller.
 *
 * `query` is the documented way for every library: it runs one statement with positional parameters
 * (`$1` on PostgreSQL, `?` on SQLite) and resolves with the rows as objects. `prepare` belongs to a
 * `DatabaseSync` of node:sqlite or a `Database` of better-sqlite3 on the file of the store.
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
