/** Reads in SQLite for the types of views.ts: messages, deliveries, attempts, lists, stats. */
import { deliveryId, deliveryKeys, messageOf, readId } from "../model/ids.ts";
import type { DeliveryState, RecipientKind, RecipientRow, RecipientStatus } from "../model/rows.ts";
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
import { uuidBytes, uuidText } from "./ids.ts";
import type { Row, Statements } from "./statements.ts";

const RECIPIENTS = `select ordinal, address, kind, status, reply from outbox_recipient
  where delivery = ? order by ordinal`;
const MESSAGE_COLUMNS = `id, public_id, reverse_path, message_id_header, subject, template, tags,
  size, created_at, bytes is not null as has_bytes`;
const MESSAGE = `select ${MESSAGE_COLUMNS} from outbox_message where public_id = ?`;
const MESSAGE_BY_KEY = `select ${MESSAGE_COLUMNS} from outbox_message where id = ?`;
const DELIVERIES = "select * from outbox_delivery where id between ? and ? order by id";
const LAST_ATTEMPT = `select attempt_no as no, via from outbox_attempt where delivery = ?
  order by attempt_no desc limit 1`;
const ATTEMPTS = `select * from outbox_attempt where delivery = ? order by attempt_no`;
const QUEUED = `select queue_lane, count(*) as queued from outbox_delivery
  where due_at is not null group by queue_lane`;
const DUE = `select count(*) as due, min(due_at) as oldest from outbox_delivery
  where queue_lane = ? and due_at <= ?`;
const LEASED = `select count(*) as leased from outbox_delivery
  where token is not null and queue_lane = ? and due_at > ?`;
const ENDED = `select state, count(*) as count from outbox_delivery
  where state in ('dead', 'cancelled', 'in_doubt') group by state`;
const BLOCKED = `select route, failures, blocked_until, reason from outbox_route
  where failures > 0 order by route limit 1000`;
const EVENTS_WAITING = "select count(*) as count from outbox_event where due_at is not null";

/** The recipients of a delivery, in order. */
export function readRecipients(db: Statements, delivery: number): RecipientRow[] {
  return db.all(RECIPIENTS, delivery).map((row) => ({
    ordinal: Number(row.ordinal),
    address: String(row.address),
    kind: row.kind as RecipientKind,
    status: row.status as RecipientStatus,
    reply: replyOf(row.reply),
  }));
}

/** See `OutboxStore.get`. */
export function get(db: Statements, _now: number, id: string): MessageRow | undefined {
  const message = findMessage(db, id);
  if (message === undefined) return undefined;
  const rows = db.all(DELIVERIES, ...deliveryKeys(Number(message.id)));
  return {
    id: uuidText(message.public_id),
    reversePath: String(message.reverse_path),
    messageIdHeader: String(message.message_id_header),
    subject: textOf(message.subject),
    template: textOf(message.template),
    tags: message.tags === null ? undefined : JSON.parse(String(message.tags)),
    size: Number(message.size),
    hasBytes: message.has_bytes === 1,
    createdAtMs: Number(message.created_at),
    deliveries: rows.map((row) => deliveryRow(db, row, message)),
  };
}

/** The row of a message, by its public id or that of one of its deliveries. */
export function findMessage(db: Statements, id: string): Row | undefined {
  const found = readId(id);
  return found && db.get(MESSAGE, uuidBytes(found.message));
}

/** The rows of the deliveries that a public id names: one, or all of a message. */
export function findDeliveries(db: Statements, id: string): Row[] {
  const message = findMessage(db, id);
  if (message === undefined) return [];
  return db.all(DELIVERIES, ...deliveryKeys(Number(message.id), readId(id)?.ordinal));
}

function deliveryRow(db: Statements, row: Row, message: Row): DeliveryRow {
  const delivery = Number(row.id);
  const last = db.get(LAST_ATTEMPT, delivery);
  return {
    id: deliveryId(uuidText(message.public_id), delivery),
    messageId: uuidText(message.public_id),
    route: String(row.route),
    lane: laneOf(row.queue_lane ?? row.lane),
    state: row.state as DeliveryState,
    cycle: Number(row.cycle),
    cycleAttempts: Number(row.cycle_attempts),
    attempts: Number(last?.no ?? 0),
    template: textOf(message.template),
    subject: textOf(message.subject),
    reason: textOf(row.reason),
    lastReply: replyOf(row.last_reply),
    lastVia: textOf(last?.via),
    createdAtMs: Number(message.created_at),
    dueAtMs: numberOf(row.due_at),
    isLeased: row.due_at === null ? undefined : row.token !== null,
    expiresAtMs: Number(row.expires_at),
    finishedAtMs: numberOf(row.finished_at),
    recipients: readRecipients(db, delivery),
  };
}

/** See `OutboxStore.list`. The cursor is the key of the last delivery of the page before. */
export function list(db: Statements, _now: number, filter: ListFilter): Page {
  const { state, route, template, recipient, limit, cursor } = filter;
  const conditions: string[] = [];
  const values: (string | number)[] = [];
  function only(condition: string, value: string | number | undefined): void {
    if (value === undefined) return;
    conditions.push(condition);
    values.push(value);
  }
  only("d.id < ?", cursor === undefined ? undefined : readCursor(cursor));
  only("d.state = ?", state);
  only("d.route = ?", route);
  only("m.template = ?", template);
  const hasRecipient = "select 1 from outbox_recipient r where r.delivery = d.id and r.address = ?";
  only(`exists (${hasRecipient})`, recipient);
  const where = conditions.length === 0 ? "" : `where ${conditions.join(" and ")}`;
  const sql = `select d.id from outbox_delivery d join outbox_message m on m.id = d.id / 1024
    ${where} order by d.id desc limit ?`;
  const keys = db.all(sql, ...values, limit + 1).map(({ id }) => Number(id));
  const deliveries = keys.slice(0, limit).flatMap((key) => {
    const row = db.get(DELIVERIES, key, key);
    const message = db.get(MESSAGE_BY_KEY, messageOf(key));
    return row && message ? [deliveryRow(db, row, message)] : [];
  });
  const last = keys.length > limit ? keys[limit - 1] : undefined;
  return { deliveries, next: last === undefined ? undefined : cursorAfter(last) };
}

/** See `OutboxStore.attempts`. */
export function attempts(db: Statements, _now: number, id: string): AttemptRow[] {
  if (readId(id)?.ordinal === undefined) return [];
  const [delivery] = findDeliveries(db, id);
  if (delivery === undefined) return [];
  return db.all(ATTEMPTS, Number(delivery.id)).map(attemptRow);
}

/** See `OutboxStore.stats`. */
export function stats(db: Statements, now: number): StoreStats {
  const lanes = db.all(QUEUED).map((row): LaneStats => {
    const number = Number(row.queue_lane);
    const due = db.get(DUE, number, now);
    return {
      lane: laneOf(number),
      queued: Number(row.queued),
      due: Number(due?.due),
      leased: Number(db.get(LEASED, number, now)?.leased),
      oldestDueMs: due?.oldest == null ? undefined : now - Number(due.oldest),
    };
  });
  const ended = new Map(db.all(ENDED).map(({ state, count }) => [state, Number(count)]));
  return {
    lanes,
    dead: ended.get("dead") ?? 0,
    inDoubt: ended.get("in_doubt") ?? 0,
    blockedRoutes: db.all(BLOCKED).map(routeRow),
    eventsWaiting: Number(db.get(EVENTS_WAITING)?.count),
  };
}
