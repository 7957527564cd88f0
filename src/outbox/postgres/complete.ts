/**
 * Intents and outcomes in PostgreSQL: the write before the final dot (an attempt without an
 * outcome) and the write after the reply to the dot. `store.ts` calls them.
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
import { numberOf } from "../model/stored-rows.ts";
import { arraysOf, isOne } from "./arrays.ts";
import { eachOnce, fromHeldLeases, leaseColumns, validOf } from "./claim.ts";
import type { Query, Row } from "./database.ts";
import { writeEvent } from "./events.ts";

/** `own`: the number of the attempt begun under the lease `h`, if any; `last`: the highest. */
const NUMBERS = `cross join lateral (
    select max(a.attempt_no) filter (where a.token = h.token) as own,
      coalesce(max(a.attempt_no), 0) as last
    from postbag.outbox_attempt a where a.delivery_id = h.delivery) as numbers`;

const intentColumns = leaseColumns({ elapsed: "bigint", worker: "text" });
const INTEND = `with held as materialized (
  select h.*, d.cycle, d.cycle_attempts, numbers.own, numbers.last ${fromHeldLeases(intentColumns)}
  join postbag.outbox_delivery d on ${isOne("d.id", "h.delivery")} ${NUMBERS}),
begun as (
  insert into postbag.outbox_attempt (delivery_id, attempt_no, token, cycle, cycle_attempt, worker,
    started_at)
  select delivery, last + 1, token, cycle, cycle_attempts + 1, worker,
    (select postbag.outbox_now()) - elapsed
  from held where own is null)
select delivery, token from held`;

/**
 * One line for each completion, and one more for each further recipient or event of the completion.
 * Columns of numbers come first, because the server reads a row from its start.
 */
const lineColumns = leaseColumns({
  line: "integer",
  elapsed: "bigint",
  delay: "bigint",
  ordinal: "integer",
  tried: "boolean",
  spends: "boolean",
  closes_doubt: "boolean",
  notify: "boolean",
  next: "text",
  outcome: "text",
  status: "text",
  event: "text",
  ordinals: "text",
  worker: "text",
  via: "text",
  reason: "text",
  reply: "json",
  own_reply: "json",
  data: "json",
});

const SETTLE = `with known as materialized (
  select numbers.own, numbers.last, d.lane, d.cycle,
    d.cycle_attempts + h.spends::integer as cycle_attempts, h.* ${fromHeldLeases(lineColumns)}
  join postbag.outbox_delivery d on ${isOne("d.id", "h.delivery")} ${NUMBERS}),
decided as (
  update postbag.outbox_recipient r set reply = coalesce(k.own_reply, k.reply),
    status = case when k.next = 'dead' and k.status = 'deferred' then 'failed' else k.status end
  from known k where ${isOne("r.delivery_id", "k.delivery")} and r.ordinal = k.ordinal
    and r.status in ('pending', 'deferred')),
failed as (
  update postbag.outbox_recipient r set status = 'failed'
  from known k where k.line = 0 and k.next = 'dead' and ${isOne("r.delivery_id", "k.delivery")}
    and r.status in ('pending', 'deferred') and r.ordinal <> all (k.ordinals::integer[])),
finished as (
  update postbag.outbox_attempt a set cycle_attempt = k.cycle_attempts,
    started_at = (select postbag.outbox_now()) - k.elapsed, finished_at = (select postbag.outbox_now()),
    outcome = k.outcome, reply = k.reply, via = k.via
  from known k where k.line = 0 and k.tried and ${isOne("a.delivery_id", "k.delivery")}
    and a.attempt_no = k.own),
made as (
  insert into postbag.outbox_attempt (delivery_id, attempt_no, token, cycle, cycle_attempt, worker,
    started_at, finished_at, outcome, reply, via)
  select delivery, last + 1, token, cycle, cycle_attempts, worker, (select postbag.outbox_now()) - elapsed,
    (select postbag.outbox_now()), outcome, reply, via
  from known where line = 0 and tried and own is null),
doubt_closed as (
  update postbag.outbox_attempt a set outcome = 'in_doubt', finished_at = (select postbag.outbox_now())
  from known k where k.line = 0 and k.closes_doubt and ${isOne("a.delivery_id", "k.delivery")}
    and a.token <> k.token and a.outcome is null),
queued as (
  update postbag.outbox_queue q set lane = k.lane, due_at = (select postbag.outbox_now()) + k.delay,
    token = null, blind = false, doubt = false, crashes = 0
  from known k where k.line = 0 and k.next = 'retry' and ${isOne("q.delivery_id", "k.delivery")}),
left_queue as (
  delete from postbag.outbox_queue q using known k
  where k.line = 0 and k.next <> 'retry' and ${isOne("q.delivery_id", "k.delivery")}),
delivery as (
  update postbag.outbox_delivery d set cycle_attempts = k.cycle_attempts, reason = k.reason,
    state = case k.next when 'retry' then 'pending' else k.next end,
    finished_at = case when k.next in ('done', 'dead') then (select postbag.outbox_now()) end,
    last_reply = coalesce(k.reply, d.last_reply)
  from known k where k.line = 0 and ${isOne("d.id", "k.delivery")}),
written as (
  insert into postbag.outbox_event (type, delivery_id, cycle, at, data, due_at)
  select event, delivery, cycle, (select postbag.outbox_now()), data,
    case when notify then (select postbag.outbox_now()) end
  from known where event is not null order by n, line)
select n, case when tried then coalesce(own, last + 1) end as attempt_no from known where line = 0`;

export type Intent = Lease & { readonly worker: string; readonly elapsedMs: number };

/** See `OutboxStore.intend`. */
export async function intend(query: Query, intents: readonly Intent[]): Promise<boolean[]> {
  const rows = eachOnce(intents).map(([{ delivery, token, worker, elapsedMs }, n]) => ({
    n,
    delivery,
    token,
    worker,
    elapsed: Math.round(elapsedMs),
  }));
  return validOf(intents, await query(INTEND, arraysOf(intentColumns, rows)));
}

/**
 * Writes the outcomes of all valid leases in one statement. `undefined` for each lease that is
 * invalid or repeated in the list: see {@link recordLost}.
 */
export async function settle(
  query: Query,
  completions: readonly Completion[],
): Promise<(CompletionResult | undefined)[]> {
  const results: (CompletionResult | undefined)[] = completions.map(() => undefined);
  const lines = eachOnce(completions).flatMap(([completion, n]) => linesOf(completion, n));
  const rows = await query(SETTLE, arraysOf(lineColumns, lines));
  for (const { n, attempt_no: no } of rows) {
    results[Number(n)] = { kind: "settled", attemptNo: numberOf(no) };
  }
  return results;
}

/**
 * The first line has the outcome of the delivery; each line has one recipient and one event, as
 * long as there are any.
 */
function linesOf(completion: Completion, n: number) {
  const { delivery, token, attempt, recipients, next, closesDoubt = false, events } = completion;
  const first = {
    n,
    delivery,
    token,
    tried: attempt !== undefined,
    worker: attempt?.worker,
    elapsed: attempt && Math.round(attempt.elapsedMs),
    outcome: attempt?.outcome,
    spends: attempt?.spends ?? false,
    reply: attempt?.reply,
    via: attempt?.via,
    next: next.kind,
    delay: next.kind === "retry" ? Math.round(next.delayMs) : undefined,
    reason: next.kind === "dead" ? next.reason : undefined,
    closes_doubt: closesDoubt,
    ordinals: `{${recipients.map(({ ordinal }) => ordinal).join(",")}}`,
    ...partOf(completion, 0),
  };
  const others = Math.max(0, recipients.length - 1, events.length - 1);
  if (others === 0) return [first];
  const { reply } = first;
  const rest = Array.from({ length: others }, (_, index) => ({
    n,
    delivery,
    token,
    next: next.kind,
    reply,
    ...partOf(completion, index + 1),
  }));
  return [first, ...rest];
}

function partOf({ attempt, recipients, events }: Completion, line: number) {
  const [change, event] = [recipients[line], events[line]];
  return {
    line,
    ordinal: change?.ordinal,
    status: change?.status,
    own_reply: change?.reply === attempt?.reply ? undefined : change?.reply,
    event: event?.type,
    data: event?.data,
    notify: event?.notify,
  };
}

const LOCK_QUEUED = "select token from postbag.outbox_queue where delivery_id = $1 for update";
const LOCK_DELIVERY = `select state, cycle, cycle_attempts from postbag.outbox_delivery
  where id = $1 for update`;
const OWN_ATTEMPT = `select attempt_no, outcome, reply, late_end from postbag.outbox_attempt
  where delivery_id = $1 and token = $2`;
const INSERT_ATTEMPT = `insert into postbag.outbox_attempt (delivery_id, attempt_no, token, cycle,
    cycle_attempt, worker, started_at, finished_at, outcome, reply, via)
  select $1, coalesce(max(a.attempt_no), 0) + 1, $2::bigint, $3::integer, $4::integer, $5::text,
    (select postbag.outbox_now()) - $6::bigint, (select postbag.outbox_now()), $7::text, $8::text, $9::text
  from postbag.outbox_attempt a where a.delivery_id = $1 returning attempt_no`;
const FINISH_ATTEMPT = `update postbag.outbox_attempt set cycle_attempt = $3,
    started_at = (select postbag.outbox_now()) - $4::bigint, finished_at = (select postbag.outbox_now()),
    outcome = $5, reply = $6, via = $7
  where delivery_id = $1 and attempt_no = $2`;
const MARK_LATE = `update postbag.outbox_attempt set late_end = $3
  where delivery_id = $1 and attempt_no = $2`;
const DELIVERED_AFTER_ALL = `update postbag.outbox_recipient r set status = 'delivered',
    reply = c.reply::text
  from json_to_recordset($2::text::json) as c (ordinal integer, reply json)
  where r.delivery_id = $1 and r.ordinal = c.ordinal and r.status <> 'delivered' returning 1`;
const STATUSES = "select distinct status from postbag.outbox_recipient where delivery_id = $1";
const UNQUEUE = "delete from postbag.outbox_queue where delivery_id = $1";
const END = `update postbag.outbox_delivery set state = $2, reason = $3,
    finished_at = (select postbag.outbox_now()), last_reply = coalesce($4, last_reply)
  where id = $1`;

/** The answer to a completion that was written before, and whose answer was lost. */
export async function answeredBefore(
  query: Query,
  { delivery, token, attempt }: Completion,
): Promise<CompletionResult | undefined> {
  if (attempt === undefined) return undefined;
  const [made] = await query(OWN_ATTEMPT, [delivery, token]);
  const { outcome, reply, attempt_no: no, late_end: lateEnd } = made ?? {};
  if (outcome !== attempt.outcome || reply !== jsonOf(attempt.reply)) return undefined;
  const attemptNo = Number(no);
  return lateEnd === null
    ? { kind: "settled", attemptNo }
    : { kind: "lost", attemptNo, finished: lateEnd === true };
}

/** Whether a completion delivers to a recipient; that is stored even without a valid lease. */
export function isSuccess({ attempt, recipients }: Completion): boolean {
  return attempt !== undefined && recipients.some(({ status }) => status === "delivered");
}

/**
 * Stores the success of a worker whose lease was lost; the caller runs it in a transaction. A 250
 * is a fact even without a lease; failures are left to the holder of the valid lease.
 */
export async function recordLost(query: Query, completion: Completion): Promise<CompletionResult> {
  const { delivery, attempt, recipients, events } = completion;
  // The queue before the delivery, as in every transaction, so that no two wait for each other.
  await query(LOCK_QUEUED, [delivery]);
  const [row] = await query(LOCK_DELIVERY, [delivery]);
  if (row === undefined || attempt === undefined) return { kind: "lost", finished: false };
  const attemptNo = await writeAttempt(query, completion, attempt, row);
  const delivered = recipients.filter(({ status }) => status === "delivered");
  const changed = await query(DELIVERED_AFTER_ALL, [delivery, JSON.stringify(delivered)]);
  const statuses = new Set(
    (await query(STATUSES, [delivery])).map(({ status }) => status as RecipientStatus),
  );
  const before = row.state as DeliveryState;
  const finished = changed.length > 0 ? endByFacts(statuses, before) : undefined;
  await query(MARK_LATE, [delivery, attemptNo, finished !== undefined]);
  if (finished === undefined) return { kind: "lost", attemptNo, finished: false };
  const reason = finished.state === "dead" ? "permanent: a recipient was refused before" : null;
  await query(UNQUEUE, [delivery]);
  await query(END, [delivery, finished.state, reason, jsonOf(attempt.reply)]);
  const notify = events.some((event) => event.notify);
  const event = { type: finished.event, data: { late: true }, notify };
  await writeEvent(query, event, { delivery, cycle: Number(row.cycle) });
  return { kind: "lost", attemptNo, finished: true };
}

/**
 * Finishes the attempt of a lease, which an intent may have begun, and returns its number. A second
 * call changes nothing.
 */
async function writeAttempt(
  query: Query,
  { delivery, token }: Lease,
  attempt: NewAttempt,
  row: Row,
): Promise<number> {
  const { worker, outcome, via = null } = attempt;
  const elapsed = Math.round(attempt.elapsedMs);
  const reply = jsonOf(attempt.reply);
  const [begun] = await query(OWN_ATTEMPT, [delivery, token]);
  if (begun === undefined) {
    const key = [delivery, token, row.cycle, row.cycle_attempts];
    const values = [...key, worker, elapsed, outcome, reply, via];
    const [made] = await query(INSERT_ATTEMPT, values);
    return Number(made?.attempt_no);
  }
  const no = Number(begun.attempt_no);
  if (begun.outcome === null || begun.outcome === "in_doubt") {
    const values = [delivery, no, row.cycle_attempts, elapsed, outcome, reply, via];
    await query(FINISH_ATTEMPT, values);
  }
  return no;
}

function jsonOf(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}
