/** Intents and outcomes: what is written before the final dot, and after the reply to it. */
import { endByFacts } from "../entry.ts";
import type {
  Completion,
  CompletionResult,
  DeliveryState,
  Lease,
  RecipientStatus,
} from "../rows.ts";
import { arraysOf, unnest } from "./arrays.ts";
import { heldLeases, leaseColumns, validOf } from "./claim.ts";
import type { Query, Row } from "./database.ts";
import { writeEvent } from "./events.ts";

/** The number of the attempt this lease has begun, if any, and the last number there is. */
const NUMBERS = `cross join lateral (
    select max(a.attempt_no) filter (where a.token = h.token) as own,
      coalesce(max(a.attempt_no), 0) as last
    from postbag.outbox_attempt a where a.delivery_id = h.delivery) numbers`;

const intentColumns = leaseColumns({ worker: "text", elapsed: "bigint" });
const INTEND = `${heldLeases(intentColumns)},
begun as (
  insert into postbag.outbox_attempt (delivery_id, attempt_no, token, cycle, cycle_attempt, worker,
    started_at)
  select h.delivery, numbers.last + 1, h.token, d.cycle, d.cycle_attempts + 1, h.worker,
    (select postbag.outbox_now()) - h.elapsed
  from held h join postbag.outbox_delivery d on d.id = h.delivery ${NUMBERS}
  where numbers.own is null)
select delivery, token from held`;

const completionColumns = leaseColumns({
  tried: "boolean",
  worker: "text",
  elapsed: "bigint",
  outcome: "text",
  spends: "boolean",
  reply: "text",
  via: "text",
  next: "text",
  delay: "bigint",
  reason: "text",
  closes_doubt: "boolean",
});
/** Of the completion with this `n`; without a reply of its own it has that of the attempt. */
const changeColumns = { n: "integer", ordinal: "integer", status: "text", reply: "text" } as const;
const eventColumns = { n: "integer", type: "text", data: "text", notify: "boolean" } as const;
const firstOfChanges = 1 + Object.keys(completionColumns).length;
const firstOfEvents = firstOfChanges + Object.keys(changeColumns).length;

const SETTLE = `${heldLeases(completionColumns)},
known as materialized (
  select h.*, d.lane, d.cycle, d.cycle_attempts + h.spends::integer as cycle_attempts,
    numbers.own, numbers.last
  from held h join postbag.outbox_delivery d on d.id = h.delivery ${NUMBERS}),
change as materialized (
  select k.delivery, c.ordinal, coalesce(c.reply, k.reply) as reply,
    case when k.next = 'dead' and c.status = 'deferred' then 'failed' else c.status end as status
  from known k join ${unnest("c", changeColumns, firstOfChanges)} on c.n = k.n),
decided as (
  update postbag.outbox_recipient r set status = c.status, reply = c.reply
  from change c where r.delivery_id = c.delivery and r.ordinal = c.ordinal
    and r.status in ('pending', 'deferred')),
failed as (
  update postbag.outbox_recipient r set status = 'failed'
  from known k where k.next = 'dead' and r.delivery_id = k.delivery
    and r.status in ('pending', 'deferred') and not exists (
      select 1 from change c where c.delivery = r.delivery_id and c.ordinal = r.ordinal)),
finished as (
  update postbag.outbox_attempt a set cycle_attempt = k.cycle_attempts,
    started_at = (select postbag.outbox_now()) - k.elapsed, finished_at = (select postbag.outbox_now()),
    outcome = k.outcome, reply = k.reply, via = k.via
  from known k where k.tried and a.delivery_id = k.delivery and a.attempt_no = k.own),
made as (
  insert into postbag.outbox_attempt (delivery_id, attempt_no, token, cycle, cycle_attempt, worker,
    started_at, finished_at, outcome, reply, via)
  select delivery, last + 1, token, cycle, cycle_attempts, worker, (select postbag.outbox_now()) - elapsed,
    (select postbag.outbox_now()), outcome, reply, via
  from known where tried and own is null),
doubt_closed as (
  update postbag.outbox_attempt a set outcome = 'in_doubt', finished_at = (select postbag.outbox_now())
  from known k where k.closes_doubt and a.delivery_id = k.delivery and a.token <> k.token
    and a.outcome is null),
queued as (
  update postbag.outbox_queue q set lane = k.lane, due_at = (select postbag.outbox_now()) + k.delay,
    token = null, blind = false, doubt = false, crashes = 0
  from known k where k.next = 'retry' and q.delivery_id = k.delivery),
left_queue as (
  delete from postbag.outbox_queue q using known k
  where k.next <> 'retry' and q.delivery_id = k.delivery),
delivery as (
  update postbag.outbox_delivery d set cycle_attempts = k.cycle_attempts, reason = k.reason,
    state = case k.next when 'retry' then 'pending' else k.next end,
    finished_at = case when k.next in ('done', 'dead') then (select postbag.outbox_now()) end,
    last_reply = coalesce(k.reply, d.last_reply)
  from known k where d.id = k.delivery),
told as (
  insert into postbag.outbox_event (type, delivery_id, cycle, at, data, due_at)
  select e.type, k.delivery, k.cycle, (select postbag.outbox_now()), e.data,
    case when e.notify then (select postbag.outbox_now()) end
  from known k join ${unnest("e", eventColumns, firstOfEvents)} on e.n = k.n
  order by k.n)
select n, case when tried then coalesce(own, last + 1) end as attempt_no from known`;

export type Intent = Lease & { readonly worker: string; readonly elapsedMs: number };

/** See `OutboxStore.intend`. */
export async function intend(query: Query, intents: readonly Intent[]): Promise<boolean[]> {
  const rows = intents.map(({ delivery, token, worker, elapsedMs }, n) => ({
    n,
    delivery,
    token,
    worker,
    elapsed: Math.round(elapsedMs),
  }));
  return validOf(intents, await query(INTEND, arraysOf(intentColumns, rows)));
}

/**
 * Writes the outcomes of all leases that are valid, in one statement. `undefined` for each that is not,
 * or that stood in the list before: see {@link recordLost}.
 */
export async function settle(
  query: Query,
  completions: readonly Completion[],
): Promise<(CompletionResult | undefined)[]> {
  const results: (CompletionResult | undefined)[] = completions.map(() => undefined);
  const rows = await query(SETTLE, [
    ...arraysOf(completionColumns, completions.map(completionRow)),
    ...arraysOf(changeColumns, completions.flatMap(changeRows)),
    ...arraysOf(eventColumns, completions.flatMap(eventRows)),
  ]);
  for (const { n, attempt_no: no } of rows) {
    results[Number(n)] = { kind: "settled", ...(no === null ? {} : { attemptNo: Number(no) }) };
  }
  return results;
}

function completionRow(completion: Completion, n: number) {
  const { delivery, token, attempt, next, closesDoubt = false } = completion;
  return {
    n,
    delivery,
    token,
    tried: attempt !== undefined,
    worker: attempt?.worker,
    elapsed: attempt && Math.round(attempt.elapsedMs),
    outcome: attempt?.outcome,
    spends: attempt?.spends ?? false,
    reply: attempt?.reply && JSON.stringify(attempt.reply),
    via: attempt?.via,
    next: next.kind,
    delay: next.kind === "retry" ? Math.round(next.delayMs) : undefined,
    reason: next.kind === "dead" ? next.reason : undefined,
    closes_doubt: closesDoubt,
  };
}

function changeRows({ attempt, recipients }: Completion, n: number) {
  return recipients.map(({ ordinal, status, reply }) => {
    const own = reply === attempt?.reply ? undefined : JSON.stringify(reply);
    return { n, ordinal, status, reply: own };
  });
}

function eventRows({ events }: Completion, n: number) {
  return events.map(({ type, data, notify }) => ({ n, type, data: JSON.stringify(data), notify }));
}

const LOCK_QUEUED = "select token from postbag.outbox_queue where delivery_id = $1 for update";
const LOCK_DELIVERY = `select state, cycle, cycle_attempts from postbag.outbox_delivery
  where id = $1 for update`;
const OWN_ATTEMPT = `select attempt_no, outcome, reply from postbag.outbox_attempt
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
export async function settledBefore(
  query: Query,
  { delivery, token, attempt }: Completion,
): Promise<CompletionResult | undefined> {
  if (attempt === undefined) return undefined;
  const [made] = await query(OWN_ATTEMPT, [delivery, token]);
  const isSame = made?.outcome === attempt.outcome && made.reply === jsonOf(attempt.reply);
  return made && isSame ? { kind: "settled", attemptNo: Number(made.attempt_no) } : undefined;
}

/** Whether it says of anybody that they were delivered: then it counts without a lease, too. */
export function isSuccess({ attempt, recipients }: Completion): boolean {
  return attempt !== undefined && recipients.some(({ status }) => status === "delivered");
}

/**
 * Writes down the success of a worker that has lost its lease, in a transaction. A 250 is a fact, whoever
 * holds the lease by now; what failed is the business of who holds it.
 */
export async function recordLost(query: Query, completion: Completion): Promise<CompletionResult> {
  const { delivery, attempt, recipients, events } = completion;
  // The queue first, as everybody does, so that nobody waits in a circle.
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
  if (finished === undefined) return { kind: "lost", attemptNo, finished: false };
  const reason = finished.state === "dead" ? "permanent: a recipient was refused before" : null;
  await query(UNQUEUE, [delivery]);
  await query(END, [delivery, finished.state, reason, jsonOf(attempt.reply)]);
  const notify = events.some((event) => event.notify);
  const event = { type: finished.event, data: { late: true }, notify };
  await writeEvent(query, event, { delivery, cycle: Number(row.cycle) });
  return { kind: "lost", attemptNo, finished: true };
}

/** Finishes the attempt of this lease, which its intent may have begun; does nothing the second time. */
async function writeAttempt(
  query: Query,
  { delivery, token }: Lease,
  attempt: NonNullable<Completion["attempt"]>,
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
