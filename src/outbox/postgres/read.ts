/** Reads in PostgreSQL for the types of views.ts: messages, deliveries, attempts, lists, stats. */
import { deliveryId, readId } from "../model/ids.ts";
import type { DeliveryState } from "../model/rows.ts";
import {
  attemptRow,
  cursorAfter,
  laneOf,
  numberOf,
  readCursor,
  replyOf,
  routeRow,
  textOf,
} from "../model/stored-rows.ts";
import type {
  AttemptRow,
  DeliveryRow,
  LaneStats,
  ListFilter,
  MessageRow,
  Page,
  StoreStats,
} from "../model/views.ts";
import { recipientsOf } from "./claim.ts";
import type { Query, Row } from "./database.ts";

const DELIVERY = `select d.*, q.due_at, q.lane as queue_lane, q.token is not null as leased,
    m.public_id, m.template, m.subject, m.created_at,
    (select json_agg(json_build_array(r.address, r.kind, r.status, r.reply) order by r.ordinal)
      from postbag.outbox_recipient r where r.delivery_id = d.id) as recipients,
    coalesce(last.attempt_no, 0) as attempts, last.via as last_via
  from postbag.outbox_delivery d
  join postbag.outbox_message m on m.id = d.id / 1024
  left join postbag.outbox_queue q on q.delivery_id = d.id
  left join lateral (select a.attempt_no, a.via from postbag.outbox_attempt a
    where a.delivery_id = d.id order by a.attempt_no desc limit 1) as last on true`;
const OF_MESSAGE = `${DELIVERY} where d.id between $1::bigint * 1024 and $1::bigint * 1024 + 1023
  order by d.id`;
const MESSAGE = `select id, public_id, reverse_path, message_id_header, subject, template, tags, size,
  created_at, bytes is not null as has_bytes from postbag.outbox_message where public_id = $1::uuid`;
const ATTEMPTS = `select a.* from postbag.outbox_message m
  join postbag.outbox_attempt a on a.delivery_id = m.id * 1024 + $2::bigint
  where m.public_id = $1::uuid order by a.attempt_no`;

/** See `OutboxStore.get`. */
export async function get(query: Query, id: string): Promise<MessageRow | undefined> {
  const message = await findMessage(query, id);
  if (message === undefined) return undefined;
  const rows = await query(OF_MESSAGE, [message.id]);
  return {
    id: String(message.public_id),
    reversePath: String(message.reverse_path),
    messageIdHeader: String(message.message_id_header),
    subject: textOf(message.subject),
    template: textOf(message.template),
    tags: (message.tags ?? undefined) as MessageRow["tags"],
    size: Number(message.size),
    hasBytes: message.has_bytes === true,
    createdAtMs: Number(message.created_at),
    deliveries: rows.map(deliveryRow),
  };
}

/** The row of a message, by its public id or that of one of its deliveries. */
async function findMessage(query: Query, id: string): Promise<Row | undefined> {
  const found = readId(id);
  return found && (await query(MESSAGE, [found.message]))[0];
}

function deliveryRow(row: Row): DeliveryRow {
  return {
    id: deliveryId(row.public_id, Number(row.id)),
    messageId: String(row.public_id),
    route: String(row.route),
    lane: laneOf(row.queue_lane ?? row.lane),
    state: row.state as DeliveryState,
    cycle: Number(row.cycle),
    cycleAttempts: Number(row.cycle_attempts),
    attempts: Number(row.attempts),
    template: textOf(row.template),
    subject: textOf(row.subject),
    reason: textOf(row.reason),
    lastReply: replyOf(row.last_reply),
    lastVia: textOf(row.last_via),
    createdAtMs: Number(row.created_at),
    dueAtMs: numberOf(row.due_at),
    isLeased: row.due_at === null ? undefined : row.leased === true,
    expiresAtMs: Number(row.expires_at),
    finishedAtMs: numberOf(row.finished_at),
    recipients: recipientsOf(row.recipients),
  };
}

const indexedStates: readonly DeliveryState[] = ["dead", "cancelled", "in_doubt"];

/** See `OutboxStore.list`. The cursor is the key of the last delivery of the page before. */
export async function list(query: Query, filter: ListFilter): Promise<Page> {
  const { state, route, template, recipient, limit, cursor } = filter;
  const conditions: string[] = [];
  const values: unknown[] = [];
  function only(condition: (parameter: string) => string, value: unknown): void {
    if (value === undefined) return;
    values.push(value);
    conditions.push(condition(`$${values.length}`));
  }
  only((before) => `d.id < ${before}`, cursor === undefined ? undefined : readCursor(cursor));
  // The three states that operators look for have an index of their own.
  const column = state !== undefined && indexedStates.includes(state) ? "d.trouble" : "d.state";
  only((is) => `${column} = ${is}`, state);
  only((is) => `d.route = ${is}`, route);
  only((is) => `m.template = ${is}`, template);
  const recipients = "select 1 from postbag.outbox_recipient r where r.delivery_id = d.id";
  only((is) => `exists (${recipients} and r.address = ${is})`, recipient);
  const where = conditions.length === 0 ? "" : `where ${conditions.join(" and ")}`;
  values.push(limit + 1);
  const sql = `${DELIVERY} ${where} order by d.id desc limit $${values.length}`;
  const rows = await query(sql, values);
  const deliveries = rows.slice(0, limit).map(deliveryRow);
  const last = rows.length > limit ? rows[limit - 1] : undefined;
  return { deliveries, next: last === undefined ? undefined : cursorAfter(Number(last.id)) };
}

/** See `OutboxStore.attempts`. */
export async function attempts(query: Query, id: string): Promise<AttemptRow[]> {
  const found = readId(id);
  if (found?.ordinal === undefined) return [];
  return (await query(ATTEMPTS, [found.message, found.ordinal])).map(attemptRow);
}

const LANES = `select lane, count(*) as queued, count(*) filter (where is_due) as due,
    count(*) filter (where token is not null and not is_due) as leased,
    max((select postbag.outbox_now()) - due_at) filter (where is_due) as oldest
  from (select lane, token, due_at, due_at <= (select postbag.outbox_now()) as is_due
    from postbag.outbox_queue) q
  group by lane order by lane`;
const ENDED = `select count(*) filter (where trouble = 'dead') as dead,
    count(*) filter (where trouble = 'in_doubt') as in_doubt
  from postbag.outbox_delivery where trouble is not null`;
const BLOCKED = `select route, failures, blocked_until, reason from postbag.outbox_route
  where failures > 0 order by route limit 1000`;
const EVENTS_WAITING = `select count(*) as count from postbag.outbox_event
  where due_at is not null`;

/** See `OutboxStore.stats`. */
export async function stats(query: Query): Promise<StoreStats> {
  const lanes = (await query(LANES)).map(
    (row): LaneStats => ({
      lane: laneOf(row.lane),
      queued: Number(row.queued),
      due: Number(row.due),
      leased: Number(row.leased),
      oldestDueMs: numberOf(row.oldest),
    }),
  );
  const [ended] = await query(ENDED);
  const [waiting] = await query(EVENTS_WAITING);
  return {
    lanes,
    dead: Number(ended?.dead),
    inDoubt: Number(ended?.in_doubt),
    blockedRoutes: (await query(BLOCKED)).map(routeRow),
    eventsWaiting: Number(waiting?.count),
  };
}
