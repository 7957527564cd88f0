/**
 * Calls of operators in PostgreSQL: cancel, redrive, resolve a doubt, purge. Each is a transaction
 * that first locks the rows it decides about, the queue before the delivery as in every
 * transaction.
 */

import { deliveryId, deliveryKeys, readId } from "../model/ids.ts";
import { type DeliveryState, resendGraceMs } from "../model/rows.ts";
import type {
  CancelAnswer,
  PurgeRequest,
  PurgeResult,
  RedriveAnswer,
  RedriveOptions,
} from "../model/views.ts";
import { isOne } from "./arrays.ts";
import type { Query, Row } from "./database.ts";
import { writeEvent } from "./events.ts";

const LOCK_MESSAGE = `select id, public_id, bytes is not null as has_bytes
  from postbag.outbox_message where public_id = $1::uuid for update`;
const LOCK_QUEUED = `select delivery_id, token, blind, doubt,
    token is not null and due_at > (select postbag.outbox_now()) as leased
  from postbag.outbox_queue
  where delivery_id between $1 and $2 order by delivery_id for update`;
const LOCK_DELIVERIES = `select id, state, cycle, lane, route from postbag.outbox_delivery
  where id between $1 and $2 order by id for update`;
const OWN_INTENT = `select 1 from postbag.outbox_attempt
  where delivery_id = $1 and token = $2 and outcome is null limit 1`;
// Attempts whose own worker gave no outcome: that worker may be merely stopped, and send its dot
// later.
const UNREPORTED = `select 1 from postbag.outbox_attempt
  where delivery_id = $1 and (outcome is null or (outcome = 'in_doubt' and reply is null)) limit 1`;
const UNQUEUE = "delete from postbag.outbox_queue where delivery_id = $1";
const QUEUE = `insert into postbag.outbox_queue (delivery_id, due_at, lane, route)
  values ($1, (select postbag.outbox_now()), $2, $3)`;
const END = `update postbag.outbox_delivery set state = $2, finished_at = (select postbag.outbox_now())
  where id = $1`;
const RESTART = `update postbag.outbox_delivery set state = 'pending', reason = null, finished_at = null,
    expires_at = greatest(expires_at, (select postbag.outbox_now()) + $2::bigint)`;
const RESEND = `${RESTART} where id = $1`;
const REDRIVE = `${RESTART}, cycle = cycle + 1, cycle_attempts = 0,
    message_id_header = coalesce($3, message_id_header)
  where id = $1`;
const REOPEN =
  "update postbag.outbox_recipient set status = 'pending', reply = null where delivery_id = $1";
const UNDELIVERED = "status not in ('delivered', 'suppressed')";
const HAS_UNDELIVERED = `select 1 from postbag.outbox_recipient
  where delivery_id = $1 and ${UNDELIVERED} limit 1`;
const MARK_DELIVERED = `update postbag.outbox_recipient set status = 'delivered', reply = null
  where delivery_id = $1 and status in ('pending', 'deferred')`;
const HAS_FAILED = `select 1 from postbag.outbox_recipient
  where delivery_id = $1 and status = 'failed' limit 1`;
// An attempt that stays without an outcome must not count as a doubt of the next cycle.
const CLOSE_DOUBT = `update postbag.outbox_attempt
  set outcome = 'in_doubt', finished_at = (select postbag.outbox_now())
  where delivery_id = $1 and outcome is null`;

interface Locked {
  readonly message: Row;
  readonly deliveries: readonly {
    readonly key: number;
    readonly id: string;
    readonly row: Row;
    readonly queued: Row | undefined;
  }[];
}

/** Locks the message of a public id, with the delivery that it names or all of them. */
async function lock(query: Query, id: string): Promise<Locked | undefined> {
  const found = readId(id);
  const [message] = found ? await query(LOCK_MESSAGE, [found.message]) : [];
  if (message === undefined) return undefined;
  const keys = deliveryKeys(Number(message.id), found?.ordinal);
  const queued = new Map(
    (await query(LOCK_QUEUED, keys)).map((row) => [Number(row.delivery_id), row]),
  );
  const deliveries = (await query(LOCK_DELIVERIES, keys)).map((row) => {
    const key = Number(row.id);
    return { key, id: deliveryId(message.public_id, key), row, queued: queued.get(key) };
  });
  return { message, deliveries };
}

/** See `OutboxStore.cancel`. */
export async function cancel(query: Query, id: string, notify: boolean) {
  const answers: { id: string; answer: CancelAnswer }[] = [];
  for (const { key, id: own, row, queued } of (await lock(query, id))?.deliveries ?? []) {
    const answer = await cancelAnswer(query, key, row, queued);
    if (row.state === "pending" && !(await isBeingSent(query, key, queued))) {
      await query(UNQUEUE, [key]);
      await query(CLOSE_DOUBT, [key]);
      await query(END, [key, "cancelled"]);
      const about = { delivery: key, cycle: Number(row.cycle) };
      await writeEvent(query, { type: "delivery.cancelled", data: {}, notify }, about);
    }
    answers.push({ id: own, answer });
  }
  return answers;
}

async function cancelAnswer(
  query: Query,
  key: number,
  row: Row,
  queued: Row | undefined,
): Promise<CancelAnswer> {
  switch (row.state as DeliveryState) {
    case "done":
    case "dead":
      return "too_late";
    case "in_doubt":
      return "unknown";
    case "cancelled":
    case "pending": {
      const isBlind = queued !== undefined && queued.token !== null && queued.blind === true;
      const maySend =
        isBlind || queued?.doubt === true || (await query(UNREPORTED, [key])).length > 0;
      return maySend ? "unknown" : "cancelled";
    }
  }
}

/** Whether the holder of a valid lease may report an outcome; then the lease stays. */
async function isBeingSent(query: Query, key: number, queued: Row | undefined): Promise<boolean> {
  if (!queued?.leased) return false;
  return queued.blind === true || (await query(OWN_INTENT, [key, queued.token])).length > 0;
}

/** See `OutboxStore.redrive`. */
export async function redrive(query: Query, id: string, options: RedriveOptions) {
  const answers: { id: string; answer: RedriveAnswer }[] = [];
  const locked = await lock(query, id);
  for (const { key, id: own, row } of locked?.deliveries ?? []) {
    const answer = await redriveAnswer(query, row, locked?.message, options);
    if (answer === "redriven") {
      await query(CLOSE_DOUBT, [key]);
      const all = options.recipients === "all";
      await query(all ? REOPEN : `${REOPEN} and ${UNDELIVERED}`, [key]);
      const { expireAfterMs, messageIdHeader = null } = options;
      await query(REDRIVE, [key, Math.round(expireAfterMs), messageIdHeader]);
      await query(QUEUE, [key, row.lane, row.route]);
    }
    answers.push({ id: own, answer });
  }
  return answers;
}

async function redriveAnswer(
  query: Query,
  row: Row,
  message: Row | undefined,
  { recipients }: RedriveOptions,
): Promise<RedriveAnswer> {
  if (row.state === "pending" || row.state === "in_doubt") return row.state;
  if (message?.has_bytes !== true) return "purged";
  const isNeeded = recipients === "all" || (await query(HAS_UNDELIVERED, [row.id])).length > 0;
  return isNeeded ? "redriven" : "delivered";
}

/** See `OutboxStore.resolveDoubt`. */
export async function resolveDoubt(
  query: Query,
  id: string,
  truth: "sent" | "resend",
  notify: boolean,
): Promise<"resolved" | "not_in_doubt" | "not_found"> {
  const [one, another] = (await lock(query, id))?.deliveries ?? [];
  if (one === undefined) return "not_found";
  const { key, row } = one;
  if (row.state !== "in_doubt" || another !== undefined) return "not_in_doubt";
  await query(CLOSE_DOUBT, [key]);
  if (truth === "resend") {
    await query(RESEND, [key, resendGraceMs]);
    await query(QUEUE, [key, row.lane, row.route]);
    return "resolved";
  }
  await query(MARK_DELIVERED, [key]);
  const state = (await query(HAS_FAILED, [key])).length === 0 ? "done" : "dead";
  await query(END, [key, state]);
  const event = { type: `delivery.${state}`, data: { resolved: true }, notify } as const;
  await writeEvent(query, event, { delivery: key, cycle: Number(row.cycle) });
  return "resolved";
}

/** `$1`: least age of a message's last end; `$2`: the same age if one of its deliveries is dead. */
const ENDED_BEFORE = `not exists (select 1 from postbag.outbox_delivery d
  where d.id between m.id * 1024 and m.id * 1024 + 1023 and (d.finished_at is null
    or d.finished_at > (select postbag.outbox_now()) - $1::bigint
    or (d.state = 'dead' and d.finished_at > (select postbag.outbox_now()) - $2::bigint)))`;
const OLD = `m.created_at <= (select postbag.outbox_now()) - $1::bigint and ${ENDED_BEFORE}`;
const LOCK_OLD = `select m.id from postbag.outbox_message m where ${OLD}
  order by m.id limit $3 for update skip locked`;
// An event names its message to hooks, so the message stays while one waits for them.
const HAS_NO_EVENT = `not exists (select 1 from postbag.outbox_event e
  where e.due_at is not null and e.delivery_id / 1024 = m.id)`;
const LOCK_OLD_MESSAGES = LOCK_OLD.replace("where ", `where ${HAS_NO_EVENT} and `);
const LOCK_OLD_BYTES = LOCK_OLD.replace("where ", "where m.bytes is not null and ");
// Checked again: a message may have been redriven before it was locked.
const STILL_OLD = `select m.id from postbag.outbox_message m where m.id = any ($3::bigint[]) and ${OLD}`;
const REMOVE_BYTES = `update postbag.outbox_message set bytes = null
  where id in (${STILL_OLD}) returning 1`;
const REMOVE = `with old as materialized (${STILL_OLD} and ${HAS_NO_EVENT}),
attempts as (delete from postbag.outbox_attempt a using old
  where a.delivery_id between old.id * 1024 and old.id * 1024 + 1023),
recipients as (delete from postbag.outbox_recipient r using old
  where r.delivery_id between old.id * 1024 and old.id * 1024 + 1023),
deliveries as (delete from postbag.outbox_delivery d using old
  where d.id between old.id * 1024 and old.id * 1024 + 1023)
delete from postbag.outbox_message m using old where m.id = old.id returning 1`;
const REMOVE_EVENTS = `delete from postbag.outbox_event where seq = any (array(
  select seq from postbag.outbox_event
  where at <= (select postbag.outbox_now()) - case when due_at is null then $1::bigint else $2::bigint end
  order by seq limit $3)) returning 1`;
const REMOVE_KEYS = `with old as materialized (
  select scope, key from postbag.outbox_idempotency where expires_at <= (select postbag.outbox_now())
  order by expires_at limit $1 for update skip locked)
delete from postbag.outbox_idempotency i using old
where ${isOne("i.scope", "old.scope")} and ${isOne("i.key", "old.key")} returning 1`;

/** See `OutboxStore.purge`. */
export async function purge(query: Query, request: PurgeRequest): Promise<PurgeResult> {
  const { bytesAfterMs, rowsAfterMs, deadAfterMs, eventsAfterMs, limit } = request;
  async function remove(lockOld: string, change: string, afterMs: number, deadMs: number) {
    const ages = [Math.round(afterMs), Math.round(deadMs)];
    const ids = (await query(lockOld, [...ages, limit])).map(({ id }) => id);
    return ids.length === 0 ? 0 : (await query(change, [...ages, ids])).length;
  }
  async function removeEvents() {
    const ages = [eventsAfterMs, Math.max(eventsAfterMs, deadAfterMs)].map(Math.round);
    return (await query(REMOVE_EVENTS, [...ages, limit])).length;
  }
  return {
    messages: await remove(LOCK_OLD_MESSAGES, REMOVE, rowsAfterMs, deadAfterMs),
    bytes: await remove(LOCK_OLD_BYTES, REMOVE_BYTES, bytesAfterMs, bytesAfterMs),
    events: await removeEvents(),
    idempotencyKeys: (await query(REMOVE_KEYS, [limit])).length,
  };
}
