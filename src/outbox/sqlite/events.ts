/** Events and routes in SQLite: leases of events, blocks and probes of routes. */
import { deliveryId } from "../model/ids.ts";
import type { EventRow, EventType, NewEvent, RouteRow } from "../model/rows.ts";
import { routeRow } from "../model/stored-rows.ts";
import { uuidText } from "./ids.ts";
import type { Row, Statements, Values } from "./statements.ts";

export const EVENT = "insert into outbox_event (type, delivery, cycle, at, data, due_at)";
const DUE_EVENTS = `select seq, type, delivery, cycle, at, data, tries, public_id from outbox_event
  left join outbox_message on outbox_message.id = outbox_event.delivery / 1024
  where due_at <= ? order by due_at, seq limit ?`;
const LEASE_EVENT = "update outbox_event set due_at = ?, tries = tries + 1 where seq = ?";
const SET_EVENT_DUE = "update outbox_event set due_at = ? where seq = ? and due_at is not null";
const ROUTE = "select route, failures, blocked_until, reason from outbox_route where route = ?";
const BLOCK = `insert into outbox_route (route, failures, blocked_until, reason) values (?, ?, ?, ?)
  on conflict (route) do update set failures = excluded.failures,
  blocked_until = excluded.blocked_until, reason = excluded.reason`;
const OPEN =
  "update outbox_route set failures = 0, blocked_until = null, reason = null where route = ?";
const WAKE = `update outbox_delivery set due_at = min(due_at, ?), parked = 0 where id in
  (select id from outbox_delivery where parked = 1 and route = ? limit ?)`;

/** The row of an event; without a delivery it belongs to a route. */
export function eventValues(
  now: number,
  { type, data, notify }: NewEvent,
  about?: { readonly delivery: number; readonly cycle: number },
): Values {
  const dueAtMs = notify ? now : null;
  return [type, about?.delivery ?? null, about?.cycle ?? null, now, JSON.stringify(data), dueAtMs];
}

export function writeEvent(
  db: Statements,
  now: number,
  event: NewEvent,
  about?: { readonly delivery: number; readonly cycle: number },
): void {
  db.insert(EVENT, [eventValues(now, event, about)]);
}

/** See `OutboxStore.claimEvents`. */
export function claimEvents(
  db: Statements,
  now: number,
  { limit, leaseMs }: { limit: number; leaseMs: number },
): EventRow[] {
  return db.all(DUE_EVENTS, now, limit).map((row) => {
    db.run(LEASE_EVENT, now + leaseMs, Number(row.seq));
    return eventRow(row);
  });
}

function eventRow(row: Row): EventRow {
  const event = {
    seq: Number(row.seq),
    type: row.type as EventType,
    atMs: Number(row.at),
    data: JSON.parse(String(row.data)),
    tries: Number(row.tries),
  };
  if (row.delivery === null || row.public_id === null) return event;
  return {
    ...event,
    deliveryId: deliveryId(uuidText(row.public_id), Number(row.delivery)),
    messageId: uuidText(row.public_id),
    cycle: Number(row.cycle),
  };
}

/** See `OutboxStore.acknowledgeEvents`. */
export function acknowledgeEvents(db: Statements, _now: number, seqs: readonly number[]): void {
  for (const seq of seqs) db.run(SET_EVENT_DUE, null, seq);
}

/** See `OutboxStore.deferEvents`. */
export function deferEvents(
  db: Statements,
  now: number,
  { seqs, delayMs }: { seqs: readonly number[]; delayMs: number },
): void {
  for (const seq of seqs) db.run(SET_EVENT_DUE, now + Math.round(delayMs), seq);
}

interface BlockRequest {
  readonly route: string;
  readonly reason: string;
  readonly delaysMs: readonly number[];
  readonly isProbe: boolean;
  readonly notify: boolean;
}

/** See `OutboxStore.blockRoute`. */
export function blockRoute(db: Statements, now: number, request: BlockRequest): RouteRow {
  const { route, reason, delaysMs, isProbe, notify } = request;
  const known = readRoute(db, route);
  if (known?.blockedUntilMs !== undefined && known.blockedUntilMs > now && !isProbe) return known;
  const failures = (known?.failures ?? 0) + 1;
  const delayMs = delaysMs[Math.min(failures, delaysMs.length) - 1] ?? 0;
  const blockedUntilMs = now + Math.round(delayMs);
  db.run(BLOCK, route, failures, blockedUntilMs, reason);
  const data = { route, reason, failures, delayMs: Math.round(delayMs) };
  writeEvent(db, now, { type: "route.blocked", data, notify });
  return { route, failures, blockedUntilMs, reason };
}

/** See `OutboxStore.restoreRoute`. */
export function restoreRoute(
  db: Statements,
  now: number,
  { route, limit, notify }: { route: string; limit: number; notify: boolean },
): number {
  if ((readRoute(db, route)?.failures ?? 0) > 0) {
    db.run(OPEN, route);
    writeEvent(db, now, { type: "route.restored", data: { route }, notify });
  }
  return db.run(WAKE, now, route, limit);
}

function readRoute(db: Statements, route: string): RouteRow | undefined {
  const row = db.get(ROUTE, route);
  return row && routeRow(row);
}
