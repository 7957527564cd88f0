/**
 * Leases in SQLite: claim, renew, release, the body of a message, and the next due time of a lane
 * (a queue of its own for one kind of delivery). Runs on the database thread.
 */
import { invariant } from "../../system/index.ts";
import { deliveryId, messageOf } from "../model/ids.ts";
import type {
  Claim,
  ClaimedDelivery,
  ClaimRequest,
  DoubtPolicy,
  Lane,
  Lease,
  Release,
} from "../model/rows.ts";
import { laneNumbers } from "../model/rows.ts";
import { replyOf } from "../model/stored-rows.ts";
import { uuidText } from "./ids.ts";
import { readRecipients } from "./read.ts";
import type { Statements } from "./statements.ts";

const DUE = `select id, route, due_at, expires_at, token, blind, doubt, cycle, cycle_attempts,
  crashes, message_id_header, last_reply from outbox_delivery
  where queue_lane = ? and due_at <= ? order by due_at limit ?`;
const FAILED_ROUTES = "select route, blocked_until from outbox_route where failures > 0";
const NEXT_TOKEN =
  "update outbox_counter set value = value + 1 where name = 'token' returning value";
// The token of an expired lease stays, so that the next claim counts the crash of its holder.
const PUT_OFF = "update outbox_delivery set due_at = ?, parked = ? where id = ?";
const MOVE_TO_LANE = "update outbox_delivery set queue_lane = ? where id = ?";
const PROBE = "update outbox_route set blocked_until = ? where route = ?";
const LEASE = `update outbox_delivery set due_at = ?, token = ?, blind = ?, doubt = ?, parked = 0,
  crashes = ? where id = ?`;
const OPEN_ATTEMPT = "select 1 from outbox_attempt where delivery = ? and outcome is null limit 1";
const MESSAGE = `select public_id, reverse_path, template, doubt, size,
  case when size <= ? then bytes end as bytes from outbox_message where id = ?`;
const VALID = "select 1 from outbox_delivery where id = ? and token = ?";
const RENEW = "update outbox_delivery set due_at = ? where id = ? and token = ?";
const RELEASE = `update outbox_delivery set due_at = ?, token = null,
  queue_lane = coalesce(?, queue_lane), last_reply = coalesce(?, last_reply) where id = ? and token = ?`;
const CLOSE_ATTEMPT = `update outbox_attempt set outcome = 'deferred', finished_at = ?, reply = ?
  where delivery = ? and token = ? and outcome is null`;

/** A row of DUE. */
type DueRow = readonly [
  id: number,
  route: string,
  dueAtMs: number,
  expiresAtMs: number,
  token: number | null,
  blind: number,
  doubt: number,
  cycle: number,
  cycleAttempts: number,
  crashes: number,
  messageIdHeader: string | null,
  lastReply: string | null,
];

/** A row of MESSAGE. */
type MessageRow = readonly [
  publicId: Uint8Array,
  reversePath: string,
  template: string | null,
  doubt: DoubtPolicy,
  size: number,
  bytes: Uint8Array | null,
];

/** See `OutboxStore.claim`. */
export function claim(db: Statements, now: number, request: ClaimRequest): Claim {
  const due = db.tuples<DueRow>(
    DUE,
    laneNumbers[request.lane],
    now,
    request.maxRows ?? request.limit,
  );
  if (due.length === 0) return { deliveries: [], putOff: 0 };
  const blockedUntilMs = new Map(
    db.all(FAILED_ROUTES).map((row) => [row.route, Number(row.blocked_until ?? 0)]),
  );
  const excepted = new Set(request.exceptRoutes);
  const room = new Map(request.busyRoutes?.map((busy) => [busy.route, busy.room]));
  const token = Number(db.get(NEXT_TOKEN)?.value);
  const claiming = { now, request, token };
  const deliveries: ClaimedDelivery[] = [];
  let putOff = 0;
  for (const row of due) {
    if (deliveries.length === request.limit) break;
    const [id, route, , expiresAtMs] = row;
    const isExpired = expiresAtMs <= now;
    const until = isExpired ? undefined : blockedUntilMs.get(route);
    const left = room.get(route) ?? request.routeRoom;
    if (excepted.has(route) && !isExpired) {
      db.run(MOVE_TO_LANE, laneNumbers.local, id);
      putOff += 1;
    } else if (until !== undefined && until > now) {
      db.run(PUT_OFF, until, 1, id);
      putOff += 1;
    } else if (left <= 0 && !isExpired) {
      db.run(PUT_OFF, now + request.putOffMs, 0, id);
      putOff += 1;
    } else {
      if (!isExpired) room.set(route, left - 1);
      const isProbe = until !== undefined;
      if (isProbe) {
        blockedUntilMs.set(route, now + request.leaseMs);
        db.run(PROBE, now + request.leaseMs, route);
      }
      deliveries.push(lease(db, claiming, row, isProbe));
    }
  }
  return { deliveries, putOff };
}

/** The values that all leases of one claim share. */
interface Claiming {
  readonly now: number;
  readonly request: ClaimRequest;
  readonly token: number;
}

function lease(
  db: Statements,
  { now, request, token }: Claiming,
  due: DueRow,
  isProbe: boolean,
): ClaimedDelivery {
  const [
    delivery,
    route,
    dueAtMs,
    expiresAtMs,
    lastToken,
    blind,
    doubt,
    cycle,
    cycleAttempts,
    lastCrashes,
    messageIdHeader,
    lastReply,
  ] = due;
  const crashed = lastToken !== null;
  const crashes = lastCrashes + (crashed ? 1 : 0);
  // A doubt that the last holder left undecided at its release is still a doubt.
  const inDoubt =
    doubt === 1 || (crashed && (blind === 1 || db.get(OPEN_ATTEMPT, delivery) !== undefined));
  const flags = [request.intents ? 0 : 1, inDoubt ? 1 : 0] as const;
  db.run(LEASE, now + request.leaseMs, token, ...flags, crashes, delivery);
  const message = db.tuple<MessageRow>(MESSAGE, request.inlineBytes, messageOf(delivery));
  invariant(message !== undefined, "each delivery has a message");
  const [publicId, reversePath, template, doubtPolicy, size, bytes] = message;
  const messageId = uuidText(publicId);
  return {
    delivery,
    token,
    id: deliveryId(messageId, delivery),
    messageId,
    message: messageOf(delivery),
    route,
    lane: request.lane,
    reversePath,
    recipients: readRecipients(db, delivery),
    size,
    bytes: bytes ?? undefined,
    messageIdHeader: messageIdHeader ?? undefined,
    template: template ?? undefined,
    doubtPolicy,
    cycle,
    cycleAttempts,
    crashes,
    inDoubt,
    lastReply: replyOf(lastReply),
    expiresInMs: expiresAtMs - now,
    lateMs: now - dueAtMs,
    isProbe,
  };
}

/** See `OutboxStore.renew`. */
export function renew(
  db: Statements,
  now: number,
  { leases, leaseMs }: { leases: readonly Lease[]; leaseMs: number },
): boolean[] {
  return leases.map(({ delivery, token }) => db.run(RENEW, now + leaseMs, delivery, token) === 1);
}

/** See `OutboxStore.release`. A written intent is closed: its dot was not sent. */
export function release(db: Statements, now: number, releases: readonly Release[]): boolean[] {
  return releases.map(({ delivery, token, delayMs, lane, reply }) => {
    if (db.get(VALID, delivery, token) === undefined) return false;
    const stored = reply ? JSON.stringify(reply) : null;
    db.run(CLOSE_ATTEMPT, now, stored, delivery, token);
    const queueLane = lane === undefined ? null : laneNumbers[lane];
    db.run(RELEASE, now + delayMs, queueLane, stored, delivery, token);
    return true;
  });
}

/** See `OutboxStore.body`. */
export function body(db: Statements, _now: number, message: number): Uint8Array | undefined {
  const row = db.get("select bytes from outbox_message where id = ?", message);
  return (row?.bytes as Uint8Array | null | undefined) ?? undefined;
}

/** See `OutboxStore.nextDue`. */
export function nextDue(db: Statements, now: number, lane: Lane): number | undefined {
  const sql = `select due_at from outbox_delivery where queue_lane = ? and due_at is not null
    order by due_at limit 1`;
  const row = db.get(sql, laneNumbers[lane]);
  return row && Math.max(0, Number(row.due_at) - now);
}
