/** Intents and outcomes: what is written before the final dot, and after the reply to it. */
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

const STANDING = `select d.state, d.token, d.cycle, d.cycle_attempts, a.attempt_no, a.outcome, a.reply, a.late_end,
  (select max(attempt_no) from outbox_attempt where delivery = d.id)
  from outbox_delivery d left join outbox_attempt a on a.delivery = d.id and a.token = ?
  where d.id = ?`;
const BEGIN_ATTEMPT = `insert into outbox_attempt (delivery, attempt_no, token, cycle, cycle_attempt,
  worker, started_at)`;
const WHOLE_ATTEMPT = `insert into outbox_attempt (delivery, attempt_no, token, cycle, cycle_attempt,
  worker, started_at, finished_at, outcome, reply, via)`;
const FINISH_ATTEMPT = `update outbox_attempt set cycle_attempt = ?, started_at = ?, finished_at = ?,
  outcome = ?, reply = ?, via = ? where delivery = ? and attempt_no = ?`;
const WAS_LATE = "update outbox_attempt set late_end = ? where delivery = ? and attempt_no = ?";
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

/** How a delivery stands, as seen by who shows a lease of it. */
interface Standing {
  readonly state: DeliveryState;
  /** Of the lease that is valid. */
  readonly token: number | null;
  readonly cycle: number;
  readonly cycleAttempts: number;
  /** The attempt that was begun under the lease that is shown. */
  readonly begun:
    | {
        readonly no: number;
        readonly outcome: string | null;
        readonly reply: string | null;
        readonly lateEnd: number | null;
      }
    | undefined;
  readonly nextNo: number;
}

function standingOf(db: Statements, { delivery, token }: Lease): Standing | undefined {
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
  >(STANDING, token, delivery);
  if (row === undefined) return undefined;
  const [state, holder, cycle, cycleAttempts, no, outcome, reply, lateEnd, lastNo] = row;
  const begun = no === null ? undefined : { no, outcome, reply, lateEnd };
  return { state, token: holder, cycle, cycleAttempts, begun, nextNo: (lastNo ?? 0) + 1 };
}

/** See `OutboxStore.intend`. */
export function intend(db: Statements, now: number, intents: readonly Intent[]): boolean[] {
  const begun = new Map<number, Values>();
  const answers = intents.map(({ delivery, token, worker, elapsedMs }) => {
    const standing = standingOf(db, { delivery, token });
    if (standing?.token !== token) return false;
    if (standing.begun) return true;
    const { nextNo, cycle, cycleAttempts } = standing;
    const startedAtMs = now - Math.round(elapsedMs);
    begun.set(delivery, [delivery, nextNo, token, cycle, cycleAttempts + 1, worker, startedAtMs]);
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
  const events: Values[] = [];
  const results = completions.map((completion): CompletionResult => {
    const standing = standingOf(db, completion);
    if (standing === undefined) return { kind: "lost", finished: false };
    if (standing.token === completion.token) return settle(db, now, completion, standing, events);
    return (
      answeredBefore(completion, standing) ?? recordLost(db, now, completion, standing, events)
    );
  });
  db.insert(EVENT, events);
  return results;
}

/** The answer to a completion that was written before, and whose answer was lost. */
function answeredBefore(
  { attempt }: Completion,
  { begun }: Standing,
): CompletionResult | undefined {
  if (attempt === undefined || begun === undefined) return undefined;
  const { no: attemptNo, outcome, reply, lateEnd } = begun;
  if (outcome !== attempt.outcome || reply !== jsonOf(attempt.reply)) return undefined;
  return lateEnd === null
    ? { kind: "settled", attemptNo }
    : { kind: "lost", attemptNo, finished: lateEnd === 1 };
}

function settle(
  db: Statements,
  now: number,
  completion: Completion,
  standing: Standing,
  written: Values[],
): CompletionResult {
  const { delivery, token, attempt, recipients, next, events } = completion;
  const { cycle } = standing;
  const cycleAttempts = standing.cycleAttempts + (attempt?.spends ? 1 : 0);
  const attemptNo = attempt && writeAttempt(db, now, completion, attempt, standing, cycleAttempts);
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
    const finishedAtMs = next.kind === "in_doubt" ? null : now;
    db.run(END, next.kind, cycleAttempts, reason, finishedAtMs, lastReply, delivery);
  }
  for (const event of events) written.push(eventValues(now, event, { delivery, cycle }));
  return { kind: "settled", ...(attemptNo === undefined ? {} : { attemptNo }) };
}

/** A 250 is a fact, whoever holds the lease by now; what failed is the business of who holds it. */
function recordLost(
  db: Statements,
  now: number,
  completion: Completion,
  standing: Standing,
  written: Values[],
): CompletionResult {
  const { delivery, attempt, recipients, events } = completion;
  const { state, cycle, cycleAttempts } = standing;
  const delivered = recipients.filter(({ status }) => status === "delivered");
  if (attempt === undefined || delivered.length === 0) return { kind: "lost", finished: false };
  const attemptNo = writeAttempt(db, now, completion, attempt, standing, cycleAttempts);
  let changed = 0;
  for (const { ordinal, reply } of delivered) {
    changed += db.run(DELIVERED_AFTER_ALL, JSON.stringify(reply), delivery, ordinal);
  }
  const finished = changed > 0 ? endByFacts(statusesOf(db, delivery), state) : undefined;
  db.run(WAS_LATE, finished ? 1 : 0, delivery, attemptNo);
  if (finished === undefined) return { kind: "lost", attemptNo, finished: false };
  const lastReply = jsonOf(attempt.reply);
  const reason = finished.state === "dead" ? "permanent: a recipient was refused before" : null;
  db.run(END, finished.state, cycleAttempts, reason, now, lastReply, delivery);
  const notify = events.some((event) => event.notify);
  const event = { type: finished.event, data: { late: true }, notify };
  written.push(eventValues(now, event, { delivery, cycle }));
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
  { begun, cycle, nextNo }: Standing,
  cycleAttempt: number,
): number {
  const { worker, outcome, via = null } = attempt;
  const startedAtMs = now - Math.round(attempt.elapsedMs);
  const reply = jsonOf(attempt.reply);
  if (begun === undefined) {
    const key = [delivery, nextNo, token, cycle, cycleAttempt] as const;
    db.insert(WHOLE_ATTEMPT, [[...key, worker, startedAtMs, now, outcome, reply, via]]);
    return nextNo;
  }
  if (begun.outcome === null || begun.outcome === "in_doubt") {
    db.run(FINISH_ATTEMPT, cycleAttempt, startedAtMs, now, outcome, reply, via, delivery, begun.no);
  }
  return begun.no;
}

function jsonOf(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}
