/**
 * Leases in PostgreSQL: claim, renew, release, the body of a message, and the next due time of a
 * lane (a queue of its own for one kind of delivery). `store.ts` calls each.
 */
import { deliveryId, messageOf } from "../model/ids.ts";
import type {
  Claim,
  ClaimedDelivery,
  ClaimRequest,
  DoubtPolicy,
  Lane,
  Lease,
  RecipientRow,
  Release,
} from "../model/rows.ts";
import { laneNumbers } from "../model/rows.ts";
import { replyOf, textOf } from "../model/stored-rows.ts";
import { arraysOf, type Columns, isOne, unnest } from "./arrays.ts";
import type { Query, Row } from "./database.ts";

/**
 * One statement: it picks due rows that no other claim has locked, decides about each, and leases
 * it or puts it off.
 *
 * The lane is a range, not `lane = $1`: without statistics of a new table the server would expect
 * few due rows and sort all of them, instead of reading the index in its order. `due` is
 * materialized, or the planner could run it again and take more than the limit. The rows of failed
 * routes are locked too, so that only one claim sends a probe. They are locked last, and restoring
 * a route skips locked queue rows, so that no two transactions wait for each other.
 */
const CLAIM = `with due as materialized (
  select q.delivery_id, q.due_at, q.token, q.blind, q.doubt, q.route
  from postbag.outbox_queue q
  where q.lane >= $1 and (q.lane, q.due_at) <= ($1, (select postbag.outbox_now()))
  order by q.lane, q.due_at, q.delivery_id limit $9::integer
  for update skip locked),
token as materialized (select nextval('postbag.outbox_token') as value from due limit 1),
failed_routes as materialized (
  select r.route, r.blocked_until
  from (select distinct route from due) as asked
  join postbag.outbox_route r on ${isOne("r.route", "asked.route")}
  where r.failures > 0 order by asked.route for no key update of r),
blocked as materialized (select jsonb_object_agg(route, blocked_until) as until from failed_routes),
known as (
  select d.*, ((select until from blocked) ->> d.route)::bigint as blocked_until,
    case when d.route = any ($10::text[]) then 0
      else coalesce(($4::jsonb ->> d.route)::integer, $3::integer) end as room
  from due d),
placed as (
  select k.*, row_number() over (
    partition by k.route, k.expired order by k.due_at, k.delivery_id) as nth
  from (select known.*, case when blocked_until is null and room > 0 then false else exists (
      select 1 from postbag.outbox_delivery o
      where ${isOne("o.id", "known.delivery_id")}
        and o.expires_at <= (select postbag.outbox_now())) end as expired
    from known) k),
judged as (
  select p.*, case
    when expired then 'lease'
    when route = any ($10::text[]) then 'local'
    when blocked_until > (select postbag.outbox_now()) then 'blocked'
    when room <= 0 then 'full'
    when blocked_until is not null and nth = 1 then 'probe'
    when blocked_until is not null then 'behind'
    when nth > room then 'full'
    else 'lease' end as verdict
  from placed p),
decided as materialized (
  select j.*, case
    when verdict in ('lease', 'probe') and row_number() over (
      partition by verdict in ('lease', 'probe') order by due_at, delivery_id) > $2::integer
    then 'left'
    else verdict end as decision
  from judged j),
probed as (
  update postbag.outbox_route r set blocked_until = (select postbag.outbox_now()) + $5::bigint
  from decided f where f.decision = 'probe' and ${isOne("r.route", "f.route")}),
leased as (
  update postbag.outbox_queue q set due_at = (select postbag.outbox_now()) + $5::bigint,
    token = (select value from token), parked = false, blind = not $7::boolean,
    crashes = q.crashes + (f.token is not null)::integer,
    doubt = f.doubt or (f.token is not null and (f.blind or exists (
      select 1 from postbag.outbox_attempt a
      where ${isOne("a.delivery_id", "f.delivery_id")} and a.outcome is null)))
  from decided f
  where f.decision in ('lease', 'probe') and ${isOne("q.delivery_id", "f.delivery_id")}
  returning q.delivery_id, q.token, q.crashes, q.doubt, q.route, f.due_at, f.decision),
put_off as (
  update postbag.outbox_queue q set parked = f.decision in ('blocked', 'behind'),
    lane = case f.decision when 'local' then ${laneNumbers.local} else q.lane end, due_at = case f.decision
    when 'local' then f.due_at
    when 'blocked' then f.blocked_until
    when 'behind' then (select postbag.outbox_now()) + $5::bigint
    else (select postbag.outbox_now()) + $6::bigint end
  from decided f where f.decision in ('blocked', 'behind', 'full', 'local')
    and ${isOne("q.delivery_id", "f.delivery_id")}
  returning 1)
select l.*, (select postbag.outbox_now()) - l.due_at as late,
  d.expires_at - (select postbag.outbox_now()) as expires_in,
  d.cycle, d.cycle_attempts, d.message_id_header, d.last_reply, m.public_id, m.reverse_path, m.template,
  m.doubt as doubt_policy, m.size,
  case when m.size <= $8 and not m.ascii then m.bytes end as bytes,
  case when m.size <= $8 and m.ascii then convert_from(m.bytes, 'UTF8') end as text,
  array_to_json(array(select json_build_array(r.address, r.kind, r.status, r.reply)
    from postbag.outbox_recipient r where r.delivery_id = l.delivery_id
    order by r.ordinal)) as recipients,
  (select count(*) from put_off) as put_off
from (select 1) as always
left join leased l on true
left join postbag.outbox_delivery d on ${isOne("d.id", "l.delivery_id")}
left join postbag.outbox_message m on ${isOne("m.id", "l.delivery_id / 1024")}`;

/** See `OutboxStore.claim`. */
export async function claim(query: Query, request: ClaimRequest): Promise<Claim> {
  const { lane, limit, leaseMs, inlineBytes, intents, routeRoom, busyRoutes, putOffMs } = request;
  const { maxRows = limit, exceptRoutes = [] } = request;
  const rows = await query(CLAIM, [
    laneNumbers[lane],
    limit,
    routeRoom,
    JSON.stringify(Object.fromEntries((busyRoutes ?? []).map(({ route, room }) => [route, room]))),
    Math.round(leaseMs),
    Math.round(putOffMs),
    intents,
    inlineBytes,
    maxRows,
    exceptRoutes,
  ]);
  const deliveries = rows
    .filter((row) => row.delivery_id !== null)
    .map((row) => claimed(row, lane));
  // Sorted here, because a sort in the server would copy all the bytes.
  deliveries.sort((a, b) => b.lateMs - a.lateMs || a.delivery - b.delivery);
  return { deliveries, putOff: Number(rows[0]?.put_off ?? 0) };
}

function claimed(row: Row, lane: Lane): ClaimedDelivery {
  const delivery = Number(row.delivery_id);
  return {
    delivery,
    token: Number(row.token),
    id: deliveryId(row.public_id, delivery),
    messageId: String(row.public_id),
    message: messageOf(delivery),
    route: String(row.route),
    lane,
    reversePath: String(row.reverse_path),
    recipients: recipientsOf(row.recipients),
    size: Number(row.size),
    bytes: bytesOf(row),
    messageIdHeader: textOf(row.message_id_header),
    template: textOf(row.template),
    doubtPolicy: row.doubt_policy as DoubtPolicy,
    cycle: Number(row.cycle),
    cycleAttempts: Number(row.cycle_attempts),
    crashes: Number(row.crashes),
    inDoubt: row.doubt === true,
    lastReply: replyOf(row.last_reply),
    expiresInMs: Number(row.expires_in),
    lateMs: Number(row.late),
    isProbe: row.decision === "probe",
  };
}

/** Bytes that are all ASCII come as text. */
function bytesOf({ bytes, text }: Row): Uint8Array | undefined {
  if (text !== null) return Buffer.from(text as string, "latin1");
  return (bytes ?? undefined) as Uint8Array | undefined;
}

/** Reads recipients from the server's list, which is in their order and has no gaps. */
export function recipientsOf(list: unknown): RecipientRow[] {
  type Fields = [string, RecipientRow["kind"], RecipientRow["status"], string | null];
  return ((list ?? []) as Fields[]).map(([address, kind, status, reply], ordinal) => ({
    ordinal,
    address,
    kind,
    status,
    reply: replyOf(reply),
  }));
}

/** The columns that name a lease in a list; `n` is the index of the lease in the list. */
const leaseKey = { n: "integer", delivery: "bigint", token: "bigint" } as const;

/** The columns of a list of leases, with further columns. */
export function leaseColumns<C extends Columns>(others: C): typeof leaseKey & C {
  return { ...leaseKey, ...others };
}

/**
 * The `from` of a list of leases `h`, only the valid ones. They are locked in the order of their
 * keys, so that no two statements wait for each other.
 */
export function fromHeldLeases(columns: Columns): string {
  return `from (select * from ${unnest("g", columns)} order by g.delivery, g.n) as h
  cross join lateral (select from postbag.outbox_queue q
    where q.delivery_id = h.delivery and q.token = h.token for update) as lease`;
}

const renewColumns = leaseColumns({ lease: "bigint" });
const RENEW = `with held as materialized (select h.* ${fromHeldLeases(renewColumns)})
update postbag.outbox_queue q set due_at = (select postbag.outbox_now()) + h.lease
from held h where ${isOne("q.delivery_id", "h.delivery")} returning h.delivery, h.token`;

const releaseColumns = leaseColumns({ delay: "bigint", lane: "smallint", reply: "json" });
const RELEASE = `with held as materialized (select h.* ${fromHeldLeases(releaseColumns)}),
closed as (
  update postbag.outbox_attempt a set outcome = 'deferred', reply = h.reply,
    finished_at = (select postbag.outbox_now())
  from held h
  where ${isOne("a.delivery_id", "h.delivery")} and a.token = h.token and a.outcome is null),
replied as (
  update postbag.outbox_delivery d set last_reply = h.reply
  from held h where ${isOne("d.id", "h.delivery")} and h.reply is not null)
update postbag.outbox_queue q set due_at = (select postbag.outbox_now()) + h.delay, token = null,
  lane = coalesce(h.lane, q.lane)
from held h where ${isOne("q.delivery_id", "h.delivery")} returning h.n`;

/** A lease with its new duration. */
export type Renewal = Lease & { readonly leaseMs: number };

/** See `OutboxStore.renew`. */
export async function renew(query: Query, leases: readonly Renewal[]): Promise<boolean[]> {
  const rows = leases.map(({ delivery, token, leaseMs }, n) => ({
    n,
    delivery,
    token,
    lease: Math.round(leaseMs),
  }));
  return validOf(leases, await query(RENEW, arraysOf(renewColumns, rows)));
}

/** Whether each lease of a list is among these rows; a lease that is listed twice has one row. */
export function validOf(leases: readonly Lease[], rows: readonly Row[]): boolean[] {
  const valid = new Set(rows.map(({ delivery, token }) => `${delivery}:${token}`));
  return leases.map(({ delivery, token }) => valid.has(`${delivery}:${token}`));
}

/** The leases of a list with their indexes, without repetitions. */
export function eachOnce<L extends Lease>(
  leases: readonly L[],
): (readonly [lease: L, n: number])[] {
  const seen = new Set<string>();
  return leases.flatMap((lease, n) => {
    const key = `${lease.delivery}:${lease.token}`;
    return seen.has(key) ? [] : seen.add(key) && [[lease, n] as const];
  });
}

/** See `OutboxStore.release`. A written intent is closed: its dot was not sent. */
export async function release(query: Query, releases: readonly Release[]): Promise<boolean[]> {
  const rows = releases.map(({ delivery, token, delayMs, lane, reply }, n) => ({
    n,
    delivery,
    token,
    delay: Math.round(delayMs),
    lane: lane && laneNumbers[lane],
    reply,
  }));
  const done = new Set(
    (await query(RELEASE, arraysOf(releaseColumns, rows))).map(({ n }) => Number(n)),
  );
  return releases.map((_, n) => done.has(n));
}

/** See `OutboxStore.body`. */
export async function body(query: Query, message: number): Promise<Uint8Array | undefined> {
  const sql = "select bytes from postbag.outbox_message where id = $1";
  const [row] = await query(sql, [message]);
  return (row?.bytes as Uint8Array | null | undefined) ?? undefined;
}

/** See `OutboxStore.nextDue`. Reads the first row of this and all later lanes from one index. */
export async function nextDue(query: Query, lane: Lane): Promise<number | undefined> {
  const sql = `select lane, greatest(0, due_at - (select postbag.outbox_now())) as wait
    from postbag.outbox_queue where lane >= $1 order by lane, due_at limit 1`;
  const [row] = await query(sql, [laneNumbers[lane]]);
  return row && Number(row.lane) === laneNumbers[lane] ? Number(row.wait) : undefined;
}
