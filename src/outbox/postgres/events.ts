/** Events and routes in PostgreSQL: leases of events, blocks and probes of routes. */
import { deliveryId } from "../model/ids.ts";
import type { EventRow, EventType, NewEvent, RouteRow } from "../model/rows.ts";
import { routeRow } from "../model/stored-rows.ts";
import { isOne } from "./arrays.ts";
import type { Query, Row } from "./database.ts";

const INSERT_EVENT = `insert into postbag.outbox_event (type, delivery_id, cycle, at, data, due_at)
  values ($1, $2, $3, (select postbag.outbox_now()), $4,
    case when $5::boolean then (select postbag.outbox_now()) end)`;
const CLAIM_EVENTS = `with due as materialized (
  select seq, due_at from postbag.outbox_event
  where due_at <= (select postbag.outbox_now()) order by due_at, seq limit $1 for update skip locked),
leased as (
  update postbag.outbox_event e set due_at = (select postbag.outbox_now()) + $2::bigint, tries = tries + 1
  from due where ${isOne("e.seq", "due.seq")}
  returning e.seq, e.type, e.delivery_id, e.cycle, e.at, e.data, e.tries - 1 as tries,
    due.due_at as was_due)
select leased.*, m.public_id from leased
left join postbag.outbox_message m on ${isOne("m.id", "leased.delivery_id / 1024")}
order by was_due, seq`;
const SET_EVENTS_DUE = `update postbag.outbox_event
  set due_at = (select postbag.outbox_now()) + $2::bigint where seq = any ($1::bigint[]) and due_at is not null`;

/** Writes an event; without a delivery it belongs to a route. */
export async function writeEvent(
  query: Query,
  { type, data, notify }: NewEvent,
  about?: { readonly delivery: number; readonly cycle: number },
): Promise<void> {
  const values = [about?.delivery ?? null, about?.cycle ?? null, JSON.stringify(data), notify];
  await query(INSERT_EVENT, [type, ...values]);
}

/** See `OutboxStore.claimEvents`. */
export async function claimEvents(
  query: Query,
  { limit, leaseMs }: { limit: number; leaseMs: number },
): Promise<EventRow[]> {
  return (await query(CLAIM_EVENTS, [limit, Math.round(leaseMs)])).map(eventRow);
}

function eventRow(row: Row): EventRow {
  const event = {
    seq: Number(row.seq),
    type: row.type as EventType,
    atMs: Number(row.at),
    data: JSON.parse(String(row.data)),
    tries: Number(row.tries),
  };
  if (row.delivery_id === null || row.public_id === null) return event;
  return {
    ...event,
    deliveryId: deliveryId(row.public_id, Number(row.delivery_id)),
    messageId: String(row.public_id),
    cycle: Number(row.cycle),
  };
}

/** See `OutboxStore.acknowledgeEvents`. */
export async function acknowledgeEvents(query: Query, seqs: readonly number[]): Promise<void> {
  await query(SET_EVENTS_DUE, [seqs, null]);
}

/** See `OutboxStore.deferEvents`. */
export async function deferEvents(
  query: Query,
  seqs: readonly number[],
  delayMs: number,
): Promise<void> {
  await query(SET_EVENTS_DUE, [seqs, Math.round(delayMs)]);
}

interface BlockRequest {
  readonly route: string;
  readonly reason: string;
  readonly delaysMs: readonly number[];
  readonly isProbe: boolean;
  readonly notify: boolean;
}

/** The k-th failure blocks for the k-th delay, all further ones for the last. */
const BLOCK = `with hit as (
  insert into postbag.outbox_route as r (route, failures, blocked_until, reason)
  values ($1, 1, (select postbag.outbox_now()) + coalesce(($3::bigint[])[1], 0), $2)
  on conflict (route) do update set failures = r.failures + 1, reason = excluded.reason,
    blocked_until = (select postbag.outbox_now())
      + coalesce(($3::bigint[])[least(r.failures + 1, cardinality($3::bigint[]))], 0)
  where $4::boolean or r.blocked_until is null or r.blocked_until <= (select postbag.outbox_now())
  returning r.route, r.failures, r.blocked_until, r.reason),
written as (
  insert into postbag.outbox_event (type, at, data, due_at)
  select 'route.blocked', (select postbag.outbox_now()), jsonb_build_object('route', route, 'reason', reason,
    'failures', failures, 'delayMs', blocked_until - (select postbag.outbox_now()))::text,
    case when $5::boolean then (select postbag.outbox_now()) end
  from hit)
select * from hit`;
const ROUTE = `select route, failures, blocked_until, reason from postbag.outbox_route
  where route = $1`;
const OPEN = `with opened as (
  update postbag.outbox_route set failures = 0, blocked_until = null, reason = null
  where route = $1 and failures > 0 returning route)
insert into postbag.outbox_event (type, at, data, due_at)
  select 'route.restored', (select postbag.outbox_now()), jsonb_build_object('route', route)::text,
    case when $2::boolean then (select postbag.outbox_now()) end
  from opened`;
// A claim that has locked some of them waits for the route, and then finds it open.
const WAKE = `with parked as materialized (
  select delivery_id from postbag.outbox_queue where parked and route = $1
  order by delivery_id limit $2 for update skip locked)
update postbag.outbox_queue q set due_at = least(q.due_at, (select postbag.outbox_now())), parked = false
from parked where q.delivery_id = parked.delivery_id returning 1`;

/** See `OutboxStore.blockRoute`. */
export async function blockRoute(
  write: Query,
  read: Query,
  { route, reason, delaysMs, isProbe, notify }: BlockRequest,
): Promise<RouteRow> {
  const delays = delaysMs.map(Math.round);
  const [hit] = await write(BLOCK, [route, reason, delays, isProbe, notify]);
  const [row = { route, failures: 0 }] = hit ? [hit] : await read(ROUTE, [route]);
  return routeRow(row);
}

/** See `OutboxStore.restoreRoute`; in a transaction. */
export async function restoreRoute(
  query: Query,
  { route, limit, notify }: { route: string; limit: number; notify: boolean },
): Promise<number> {
  await query(OPEN, [route, notify]);
  return (await query(WAKE, [route, limit])).length;
}
