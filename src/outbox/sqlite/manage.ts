/** Calls of operators in SQLite: cancel, redrive, resolve a doubt, purge. */
import { deliveryId } from "../model/ids.ts";
import { type DeliveryState, resendGraceMs } from "../model/rows.ts";
import type {
  CancelAnswer,
  PurgeRequest,
  PurgeResult,
  RedriveAnswer,
  RedriveOptions,
} from "../model/views.ts";
import { writeEvent } from "./events.ts";
import { uuidText } from "./ids.ts";
import { findDeliveries, findMessage } from "./read.ts";
import type { Row, Statements } from "./statements.ts";

const OWN_INTENT = `select 1 from outbox_attempt
  where delivery = ? and token = ? and outcome is null limit 1`;
// Attempts whose own worker gave no outcome: that worker may be merely stopped, and send its dot
// later.
const UNREPORTED = `select 1 from outbox_attempt
  where delivery = ? and (outcome is null or (outcome = 'in_doubt' and reply is null)) limit 1`;
const END = `update outbox_delivery set state = ?, queue_lane = null, due_at = null, token = null,
  blind = 0, doubt = 0, parked = 0, crashes = 0, finished_at = ? where id = ?`;
const RESTART = `update outbox_delivery set state = 'pending', queue_lane = lane, due_at = ?,
  token = null, blind = 0, doubt = 0, parked = 0, crashes = 0, reason = null, finished_at = null,
  expires_at = max(expires_at, ?)`;
const RESEND = `${RESTART} where id = ?`;
const REDRIVE = `${RESTART}, cycle = cycle + 1, cycle_attempts = 0,
  message_id_header = coalesce(?, message_id_header) where id = ?`;
const REOPEN = "update outbox_recipient set status = 'pending', reply = null where delivery = ?";
const REOPEN_UNDELIVERED = `${REOPEN} and status not in ('delivered', 'suppressed')`;
const UNDELIVERED = `select 1 from outbox_recipient
  where delivery = ? and status not in ('delivered', 'suppressed') limit 1`;
const MARK_DELIVERED = `update outbox_recipient set status = 'delivered', reply = null
  where delivery = ? and status in ('pending', 'deferred')`;
const HAS_FAILED =
  "select 1 from outbox_recipient where delivery = ? and status = 'failed' limit 1";
// An attempt that stays without an outcome must not count as a doubt of the next cycle.
const CLOSE_DOUBT = `update outbox_attempt set outcome = 'in_doubt', finished_at = ?
  where delivery = ? and outcome is null`;

/** See `OutboxStore.cancel`. */
export function cancel(
  db: Statements,
  now: number,
  { id, notify }: { id: string; notify: boolean },
): { id: string; answer: CancelAnswer }[] {
  const message = findMessage(db, id);
  return findDeliveries(db, id).map((row) => {
    const delivery = Number(row.id);
    const answer = cancelAnswer(db, row);
    if (row.state === "pending" && !isBeingSent(db, now, row)) {
      db.run(CLOSE_DOUBT, now, delivery);
      db.run(END, "cancelled", now, delivery);
      const about = { delivery, cycle: Number(row.cycle) };
      writeEvent(db, now, { type: "delivery.cancelled", data: {}, notify }, about);
    }
    return { id: deliveryId(uuidText(message?.public_id), delivery), answer };
  });
}

function cancelAnswer(db: Statements, row: Row): CancelAnswer {
  switch (row.state as DeliveryState) {
    case "done":
    case "dead":
      return "too_late";
    case "in_doubt":
      return "unknown";
    case "cancelled":
    case "pending": {
      const isBlind = row.token !== null && row.blind === 1;
      const maySend =
        isBlind || row.doubt === 1 || db.get(UNREPORTED, Number(row.id)) !== undefined;
      return maySend ? "unknown" : "cancelled";
    }
  }
}

/** Whether the holder of a valid lease may report an outcome; then the lease stays. */
function isBeingSent(db: Statements, now: number, { id, token, blind, due_at: until }: Row) {
  if (token === null || Number(until) <= now) return false;
  return blind === 1 || db.get(OWN_INTENT, Number(id), Number(token)) !== undefined;
}

/** See `OutboxStore.redrive`. */
export function redrive(
  db: Statements,
  now: number,
  { id, options }: { id: string; options: RedriveOptions },
): { id: string; answer: RedriveAnswer }[] {
  const message = findMessage(db, id);
  return findDeliveries(db, id).map((row) => {
    const delivery = Number(row.id);
    const answer = redriveAnswer(db, row, message, options);
    if (answer === "redriven") {
      db.run(CLOSE_DOUBT, now, delivery);
      db.run(options.recipients === "all" ? REOPEN : REOPEN_UNDELIVERED, delivery);
      const header = options.messageIdHeader ?? null;
      db.run(REDRIVE, now, now + options.expireAfterMs, header, delivery);
    }
    return { id: deliveryId(uuidText(message?.public_id), delivery), answer };
  });
}

function redriveAnswer(
  db: Statements,
  row: Row,
  message: Row | undefined,
  { recipients }: RedriveOptions,
): RedriveAnswer {
  if (row.state === "pending" || row.state === "in_doubt") return row.state;
  if (message?.has_bytes !== 1) return "purged";
  const isNeeded = recipients === "all" || db.get(UNDELIVERED, Number(row.id)) !== undefined;
  return isNeeded ? "redriven" : "delivered";
}

/** See `OutboxStore.resolveDoubt`. */
export function resolveDoubt(
  db: Statements,
  now: number,
  { id, truth, notify }: { id: string; truth: "sent" | "resend"; notify: boolean },
): "resolved" | "not_in_doubt" | "not_found" {
  const [row, another] = findDeliveries(db, id);
  if (row === undefined) return "not_found";
  if (row.state !== "in_doubt" || another !== undefined) return "not_in_doubt";
  const delivery = Number(row.id);
  db.run(CLOSE_DOUBT, now, delivery);
  if (truth === "resend") {
    db.run(RESEND, now, now + resendGraceMs, delivery);
    return "resolved";
  }
  db.run(MARK_DELIVERED, delivery);
  const state = db.get(HAS_FAILED, delivery) === undefined ? "done" : "dead";
  db.run(END, state, now, delivery);
  const event = { type: `delivery.${state}`, data: { resolved: true }, notify } as const;
  writeEvent(db, now, event, { delivery, cycle: Number(row.cycle) });
  return "resolved";
}

const ENDED_BEFORE = `not exists (select 1 from outbox_delivery d
  where d.id between m.id * 1024 and m.id * 1024 + 1023
  and (d.finished_at is null or d.finished_at > ? or (d.state = 'dead' and d.finished_at > ?)))`;
const OLD_BYTES = `select m.id from outbox_message m
  where m.bytes is not null and m.created_at <= ? and ${ENDED_BEFORE} order by m.id limit ?`;
// An event names its message to hooks, so the message stays while one waits for them.
const OLD_MESSAGES = `select m.id from outbox_message m
  where m.created_at <= ? and ${ENDED_BEFORE}
  and m.id not in (select delivery / 1024 from outbox_event where due_at is not null and delivery > 0)
  order by m.id limit ?`;
const OF_DELIVERIES = "between ? * 1024 and ? * 1024 + 1023";

/** See `OutboxStore.purge`. */
export function purge(db: Statements, now: number, request: PurgeRequest): PurgeResult {
  const { bytesAfterMs, rowsAfterMs, deadAfterMs, eventsAfterMs, limit } = request;
  const bytesBefore = now - bytesAfterMs;
  const rowsBefore = now - rowsAfterMs;
  const deadBefore = now - deadAfterMs;
  const messages = db.all(OLD_MESSAGES, rowsBefore, rowsBefore, deadBefore, limit);
  for (const { id } of messages) removeMessage(db, Number(id));
  const bodies = db.all(OLD_BYTES, bytesBefore, bytesBefore, bytesBefore, limit);
  for (const { id } of bodies) {
    db.run("update outbox_message set bytes = null where id = ?", Number(id));
  }
  const events = db.run(
    `delete from outbox_event where seq in (select seq from outbox_event
      where at <= case when due_at is null then ? else ? end order by seq limit ?)`,
    now - eventsAfterMs,
    now - Math.max(eventsAfterMs, deadAfterMs),
    limit,
  );
  const idempotencyKeys = db.run(
    `delete from outbox_idempotency where (scope, key) in (select scope, key from outbox_idempotency
      where expires_at <= ? order by expires_at limit ?)`,
    now,
    limit,
  );
  return { bytes: bodies.length, messages: messages.length, events, idempotencyKeys };
}

function removeMessage(db: Statements, message: number): void {
  for (const table of ["outbox_attempt", "outbox_recipient"]) {
    db.run(`delete from ${table} where delivery ${OF_DELIVERIES}`, message, message);
  }
  db.run(`delete from outbox_delivery where id ${OF_DELIVERIES}`, message, message);
  db.run("delete from outbox_message where id = ?", message);
}
