/**
 * Intents and outcomes in SQLite: the write before the final dot (an attempt without an outcome)
 * and the write after the reply to the dot. Runs on the database thread.
 */
import { endByFacts } from "../model/delivery-state.ts";
import type {
  Completion,
  CompletionResult,
  DeliveryState,
  Lease,
  NewAttempt,
  RecipientStatus,
} from "../model/rows.ts";
import { EVENT, eventValues } from "./events.ts";
import type { Statements, Values } from "./statements.ts";

const LEASE_ROW = `select d.state, d.token, d.cycle, d.cycle_attempts, a.attempt_no, a.outcome,
  a.reply, a.late_end, (select max(attempt_no) from outbox_attempt where delivery = d.id)
  from outbox_delivery d left join outbox_attempt a on a.delivery = d.id and a.token = ?
  where d.id = ?`;
const BEGIN_ATTEMPT = `insert into outbox_attempt (delivery, attempt_no, token, cycle,
  cycle_attempt, worker, started_at)`;
const WHOLE_ATTEMPT = `insert into outbox_attempt (delivery, attempt_no, token, cycle,
  cycle_attempt, worker, started_at, finished_at, outcome, reply, via)`;
const FINISH_ATTEMPT = `update outbox_attempt set cycle_attempt = ?, started_at = ?,
  finished_at = ?, outcome = ?, reply = ?, via = ? where delivery = ? and attempt_no = ?`;
const MARK_LATE = "update outbox_attempt set late_end = ? where delivery = ? and attempt_no = ?";
const CLOSE_DOUBT = `update outbox_attempt set outcome = 'in_doubt', finished_at = ?
  where delivery = ? and token <> ? and outcome is null`;
const DECIDE = `update outbox_recipient set status = ?, reply = ?
  where delivery = ? and ordinal = ? and status in ('pending', 'deferred')`;
const DELIVERED_AFTER_ALL = `update outbox_recipient set status = 'delivered', reply = ?
  where delivery = ? and ordinal = ? and status <> 'delivered'`;
const FAIL_THE_REST = `update outbox_recipient set status = 'failed'
  where delivery = ? and status in ('pending', 'deferred')`;
const STATUSES = "select distinct status from outbox_recipient where delivery = ?";
const RETRY = `update outbox_delivery set queue_lane = lane, due_at = ?, token = null, blind = 0,
  doubt = 0, crashes = 0, cycle_attempts = ?, last_reply = coalesce(?, last_reply) where id = ?`;
const END = `update outbox_delivery set state = ?, queue_lane = null, due_at = null, token = null,
  blind = 0, doubt = 0, parked = 0, crashes = 0, cycle_attempts = ?, reason = ?, finished_at = ?,
  last_reply = coalesce(?, last_reply) where id = ?`;

type Intent = Lease & { readonly worker: string; readonly elapsedMs: number };

/** A delivery, and the attempt begun under the lease that the caller names, valid or lost. */
interface LeaseRow {
  readonly state: DeliveryState;
  /** The token of the valid lease; the caller's token may be another. */
  readonly token: number | null;
  readonly cycle: number;
  readonly cycleAttempts: number;
  /** The attempt begun under the caller's token. */
  readonly begun: BegunAttempt | undefined;
  /** The number of the next attempt. */
  readonly nextNo: number;
}

interface BegunAttempt {
  readonly no: number;
  readonly outcome: string | null;
  readonly reply: string | null;
  readonly lateEnd: number | null;
}

function readLease(db: Statements, { delivery, token }: Lease): LeaseRow | undefined {
  const row = db.tuple<
    [
      state: DeliveryState,
      token: number | null,
      cycle: number,
      cycleAttempts: number,
      no: number | null,
      outcome: string | null,
      reply: string | null,
      lateEnd: number | null,
      lastNo: number | null,
    ]
  >(LEASE_ROW, token, delivery);
  if (row === undefined) return undefined;
  const [state, holder, cycle, cycleAttempts, no, outcome, reply, lateEnd, lastNo] = row;
  const begun = no === null ? undefined : { no, outcome, reply, lateEnd };
  return { state, token: holder, cycle, cycleAttempts, begun, nextNo: (lastNo ?? 0) + 1 };
}

/** See `OutboxStore.intend`. */
export function intend(db: Statements, now: number, intents: readonly Intent[]): boolean[] {
  const begun = new Map<number, Values>();
  const answers = intents.map(({ delivery, token, worker, elapsedMs }) => {
    const row = readLease(db, { delivery, token });
    if (row?.token !== token) return false;
    if (row.begun) return true;
    const { nextNo, cycle, cycleAttempts } = row;
    const startedAt = now - Math.round(elapsedMs);
    begun.set(delivery, [delivery, nextNo, token, cycle, cycleAttempts + 1, worker, startedAt]);
    return true;
  });
  db.insert(BEGIN_ATTEMPT, [...begun.values()]);
  return answers;
}

/** See `OutboxStore.complete`. */
export function complete(
  db: Statements,
  now: number,
  completions: readonly Completion[],
): CompletionResult[] {
  const batch: CompletionBatch = { db, now, events: [] };
  const results = completions.map((completion): CompletionResult => {
    const row = readLease(db, completion);
    if (row === undefined) return { kind: "lost", finished: false };
    if (row.token === completion.token) return settle(batch, completion, row);
    return answeredBefore(completion, row) ?? recordLost(batch, completion, row);
  });
  db.insert(EVENT, batch.events);
  return results;
}

/** The values that the completions of one call share. */
interface CompletionBatch {
  readonly db: Statements;
  readonly now: number;
  /** Rows of events, inserted together in the end. */
  readonly events: Values[];
}

/** The answer to a completion that was written before, and whose answer was lost. */
function answeredBefore(
  { attempt }: Completion,
  { begun }: LeaseRow,
): CompletionResult | undefined {
  if (attempt === undefined || begun === undefined) return undefined;
  const { no: attemptNo, outcome, reply, lateEnd } = begun;
  if (outcome !== attempt.outcome || reply !== jsonOf(attempt.reply)) return undefined;
  return lateEnd === null
    ? { kind: "settled", attemptNo }
    : { kind: "lost", attemptNo, finished: lateEnd === 1 };
}

/** Writes a completion under a valid lease. */
function settle(batch: CompletionBatch, completion: Completion, row: LeaseRow): CompletionResult {
  const { db, now } = batch;
  const { delivery, token, attempt, recipients, next, events } = completion;
  const { cycle } = row;
  const cycleAttempts = row.cycleAttempts + (attempt?.spends ? 1 : 0);
  const attemptNo =
    attempt && writeAttempt(batch, { delivery, token }, attempt, { ...row, cycleAttempts });
  if (completion.closesDoubt) db.run(CLOSE_DOUBT, now, delivery, token);
  for (const { ordinal, status, reply } of recipients) {
    db.run(DECIDE, status, JSON.stringify(reply), delivery, ordinal);
  }
  const lastReply = jsonOf(attempt?.reply);
  if (next.kind === "retry") {
    db.run(RETRY, now + Math.round(next.delayMs), cycleAttempts, lastReply, delivery);
  } else {
    if (next.kind === "dead") db.run(FAIL_THE_REST, delivery);
    const reason = next.kind === "dead" ? next.reason : null;
    const finishedAt = next.kind === "in_doubt" ? null : now;
    db.run(END, next.kind, cycleAttempts, reason, finishedAt, lastReply, delivery);
  }
  for (const event of events) batch.events.push(eventValues(now, event, { delivery, cycle }));
  return { kind: "settled", attemptNo };
}

/** Stores a success under a lost lease: a 250 is a fact. Failures are left to the valid lease. */
function recordLost(
  batch: CompletionBatch,
  completion: Completion,
  row: LeaseRow,
): CompletionResult {
  const { db, now } = batch;
  const { delivery, attempt, recipients, events } = completion;
  const { state, cycle, cycleAttempts } = row;
  const delivered = recipients.filter(({ status }) => status === "delivered");
  if (attempt === undefined || delivered.length === 0) return { kind: "lost", finished: false };
  const attemptNo = writeAttempt(batch, completion, attempt, row);
  let changed = 0;
  for (const { ordinal, reply } of delivered) {
    changed += db.run(DELIVERED_AFTER_ALL, JSON.stringify(reply), delivery, ordinal);
  }
  const finished = changed > 0 ? endByFacts(statusesOf(db, delivery), state) : undefined;
  db.run(MARK_LATE, finished ? 1 : 0, delivery, attemptNo);
  if (finished === undefined) return { kind: "lost", attemptNo, finished: false };
  const lastReply = jsonOf(attempt.reply);
  const reason = finished.state === "dead" ? "permanent: a recipient was refused before" : null;
  db.run(END, finished.state, cycleAttempts, reason, now, lastReply, delivery);
  const notify = events.some((event) => event.notify);
  const event = { type: finished.event, data: { late: true }, notify };
  batch.events.push(eventValues(now, event, { delivery, cycle }));
  return { kind: "lost", attemptNo, finished: true };
}

function statusesOf(db: Statements, delivery: number): Set<RecipientStatus> {
  return new Set(db.all(STATUSES, delivery).map(({ status }) => status as RecipientStatus));
}

/**
 * Finishes the attempt of a lease, which an intent may have begun, and returns its number. A second
 * call changes nothing.
 */
function writeAttempt(
  { db, now }: CompletionBatch,
  { delivery, token }: Lease,
  attempt: NewAttempt,
  { begun, cycle, cycleAttempts, nextNo }: LeaseRow,
): number {
  const { worker, outcome, via = null } = attempt;
  const startedAt = now - Math.round(attempt.elapsedMs);
  const reply = jsonOf(attempt.reply);
  if (begun === undefined) {
    const key = [delivery, nextNo, token, cycle, cycleAttempts] as const;
    db.insert(WHOLE_ATTEMPT, [[...key, worker, startedAt, now, outcome, reply, via]]);
    return nextNo;
  }
  if (begun.outcome === null || begun.outcome === "in_doubt") {
    db.run(FINISH_ATTEMPT, cycleAttempts, startedAt, now, outcome, reply, via, delivery, begun.no);
  }
  return begun.no;
}

function jsonOf(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}
