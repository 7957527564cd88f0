/** Intents and outcomes: what is written before the final dot, and after the reply to it. */
import { endByFacts } from "../entry.ts";
import type {
  Completion,
  CompletionResult,
  DeliveryState,
  Lease,
  NewAttempt,
  RecipientStatus,
} from "../rows.ts";
import { writeEvent } from "./events.ts";
import type { Row, Statements } from "./statements.ts";

const DELIVERY = "select state, token, cycle, cycle_attempts from outbox_delivery where id = ?";
const ATTEMPT_OF_LEASE = `select attempt_no, outcome, reply from outbox_attempt
  where delivery = ? and token = ?`;
const LAST_ATTEMPT = `select attempt_no from outbox_attempt where delivery = ?
  order by attempt_no desc limit 1`;
const INSERT_ATTEMPT = `insert into outbox_attempt (delivery, attempt_no, token, cycle, cycle_attempt,
  worker, started_at, finished_at, outcome, reply, via) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const FINISH_ATTEMPT = `update outbox_attempt set cycle_attempt = ?, started_at = ?, finished_at = ?,
  outcome = ?, reply = ?, via = ? where delivery = ? and attempt_no = ?`;
const CLOSE_DOUBT = `update outbox_attempt set outcome = 'in_doubt', finished_at = ?
  where delivery = ? and token <> ? and outcome is null`;
const DECIDE = `update outbox_recipient set status = ?, reply = ?
  where delivery = ? and ordinal = ? and status in ('pending', 'deferred')`;
const DELIVERED_AFTER_ALL = `update outbox_recipient set status = 'delivered', reply = ?
  where delivery = ? and ordinal = ? and status <> 'delivered'`;
const FAIL_THE_REST = `update outbox_recipient set status = 'failed'
  where delivery = ? and status in ('pending', 'deferred')`;
const STATUSES = "select distinct status from outbox_recipient where delivery = ?";
const RETRY = `update outbox_delivery set queue_lane = lane, due_at = ?, token = null, blind = 0, doubt = 0, crashes = 0,
  cycle_attempts = ?, last_reply = coalesce(?, last_reply) where id = ?`;
const END = `update outbox_delivery set state = ?, queue_lane = null, due_at = null, token = null, blind = 0, doubt = 0,
  parked = 0, crashes = 0, cycle_attempts = ?, reason = ?, finished_at = ?,
  last_reply = coalesce(?, last_reply) where id = ?`;

type Intent = Lease & { readonly worker: string; readonly elapsedMs: number };

/** See `OutboxStore.intend`. */
export function intend(db: Statements, now: number, intents: readonly Intent[]): boolean[] {
  return intents.map(({ delivery, token, worker, elapsedMs }) => {
    const row = db.get(DELIVERY, delivery);
    if (row?.token !== token) return false;
    if (db.get(ATTEMPT_OF_LEASE, delivery, token) !== undefined) return true;
    const cycleAttempt = Number(row.cycle_attempts) + 1;
    const no = nextAttemptNo(db, delivery);
    const startedAt = now - Math.round(elapsedMs);
    const cycle = Number(row.cycle);
    const values = [delivery, no, token, cycle, cycleAttempt, worker, startedAt] as const;
    db.run(INSERT_ATTEMPT, ...values, null, null, null, null);
    return true;
  });
}

/** See `OutboxStore.complete`. */
export function complete(
  db: Statements,
  now: number,
  completions: readonly Completion[],
): CompletionResult[] {
  return completions.map((completion) => {
    const row = db.get(DELIVERY, completion.delivery);
    return row && row.token === completion.token
      ? settle(db, now, completion, row)
      : (settledBefore(db, completion) ?? recordLost(db, now, completion, row));
  });
}

/** The answer to a completion that was written before, and whose answer was lost. */
function settledBefore(
  db: Statements,
  { delivery, token, attempt }: Completion,
): CompletionResult | undefined {
  const made = attempt && db.get(ATTEMPT_OF_LEASE, delivery, token);
  const isSame = made?.outcome === attempt?.outcome && made?.reply === jsonOf(attempt?.reply);
  return made && isSame ? { kind: "settled", attemptNo: Number(made.attempt_no) } : undefined;
}

function settle(db: Statements, now: number, completion: Completion, row: Row): CompletionResult {
  const { delivery, token, attempt, recipients, next, events } = completion;
  const cycleAttempts = Number(row.cycle_attempts) + (attempt?.spends ? 1 : 0);
  const attemptNo = attempt && writeAttempt(db, now, completion, attempt, row, cycleAttempts);
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
  for (const event of events) writeEvent(db, now, event, { delivery, cycle: Number(row.cycle) });
  return { kind: "settled", ...(attemptNo === undefined ? {} : { attemptNo }) };
}

/** A 250 is a fact, whoever holds the lease by now; what failed is the business of who holds it. */
function recordLost(
  db: Statements,
  now: number,
  completion: Completion,
  row: Row | undefined,
): CompletionResult {
  const { delivery, attempt, recipients, events } = completion;
  const delivered = recipients.filter(({ status }) => status === "delivered");
  if (row === undefined || attempt === undefined || delivered.length === 0) {
    return { kind: "lost", finished: false };
  }
  const attemptNo = writeAttempt(db, now, completion, attempt, row, Number(row.cycle_attempts));
  let changed = 0;
  for (const { ordinal, reply } of delivered) {
    changed += db.run(DELIVERED_AFTER_ALL, JSON.stringify(reply), delivery, ordinal);
  }
  const before = row.state as DeliveryState;
  const finished = changed > 0 ? endByFacts(statusesOf(db, delivery), before) : undefined;
  if (finished === undefined) return { kind: "lost", attemptNo, finished: false };
  const lastReply = jsonOf(attempt.reply);
  const reason = finished.state === "dead" ? "permanent: a recipient was refused before" : null;
  db.run(END, finished.state, Number(row.cycle_attempts), reason, now, lastReply, delivery);
  const notify = events.some((event) => event.notify);
  const event = { type: finished.event, data: { late: true }, notify };
  writeEvent(db, now, event, { delivery, cycle: Number(row.cycle) });
  return { kind: "lost", attemptNo, finished: true };
}

function statusesOf(db: Statements, delivery: number): Set<RecipientStatus> {
  return new Set(db.all(STATUSES, delivery).map(({ status }) => status as RecipientStatus));
}

/** Finishes the attempt of this lease, which its intent may have begun; does nothing the second time. */
function writeAttempt(
  db: Statements,
  now: number,
  { delivery, token }: Lease,
  attempt: NewAttempt,
  row: Row,
  cycleAttempt: number,
): number {
  const { worker, outcome, via = null } = attempt;
  const startedAt = now - Math.round(attempt.elapsedMs);
  const reply = jsonOf(attempt.reply);
  const begun = db.get(ATTEMPT_OF_LEASE, delivery, token);
  if (begun === undefined) {
    const no = nextAttemptNo(db, delivery);
    const key = [delivery, no, token, Number(row.cycle), cycleAttempt] as const;
    db.run(INSERT_ATTEMPT, ...key, worker, startedAt, now, outcome, reply, via);
    return no;
  }
  const no = Number(begun.attempt_no);
  if (begun.outcome === null || begun.outcome === "in_doubt") {
    db.run(FINISH_ATTEMPT, cycleAttempt, startedAt, now, outcome, reply, via, delivery, no);
  }
  return no;
}

function nextAttemptNo(db: Statements, delivery: number): number {
  return Number(db.get(LAST_ATTEMPT, delivery)?.attempt_no ?? 0) + 1;
}

function jsonOf(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}
