/**
 * Enqueue as one statement for any number of messages: short values as JSON, the bytes of all
 * messages in one parameter, which pg sends unchanged.
 *
 * An idempotency key is an insert that does nothing if an unexpired key exists. The server lets it
 * wait while another transaction holds the key; after a rollback exactly one waiter inserts. The
 * others read its row in a second statement, because only that sees rows committed during the wait.
 */
import { isAscii } from "node:buffer";
import { invariant } from "../../system/index.ts";
import { type EnqueueResult, laneNumbers, type NewMessage } from "../model/rows.ts";
import { isOne } from "./arrays.ts";
import type { Query } from "./database.ts";

const STORE = `with given as materialized (
  select nextval('postbag.outbox_message_id_seq') as row_key, g.*,
    greatest((select postbag.outbox_now()), g.send_at) as due_at
  from json_to_recordset($1::text::json) as g (n integer, id uuid, reverse_path text,
    message_id_header text, subject text, template text, tags jsonb, doubt text, lane smallint,
    send_at bigint, expires_at bigint, expire_after bigint, first integer, size integer, ascii boolean,
    deliveries json, scope text, key text, hash text, keep bigint)),
taken as (
  insert into postbag.outbox_idempotency as i (scope, key, content_sha256, public_id, expires_at)
  select scope, key, decode(hash, 'hex'), id, (select postbag.outbox_now()) + keep
  from given where key is not null order by scope, key
  on conflict (scope, key) do update set content_sha256 = excluded.content_sha256,
    public_id = excluded.public_id, expires_at = excluded.expires_at
  where i.expires_at <= (select postbag.outbox_now())
  returning i.public_id),
fresh as materialized (
  select * from given where key is null or id in (select public_id from taken)),
message as (
  insert into postbag.outbox_message (id, public_id, reverse_path, message_id_header, subject,
    template, tags, doubt, size, ascii, created_at, bytes)
  select row_key, id, reverse_path, message_id_header, subject, template, tags, doubt, size, ascii,
    (select postbag.outbox_now()), substring($2::bytea from first + 1 for size)
  from fresh),
part as materialized (
  select f.row_key * 1024 + d.ordinality as id, d.value ->> 0 as route, d.value -> 1 as recipients,
    f.lane, f.due_at, coalesce(f.expires_at, f.due_at + f.expire_after) as expires_at
  from fresh f cross join lateral json_array_elements(f.deliveries) with ordinality d),
delivery as (
  insert into postbag.outbox_delivery (id, route, lane, expires_at)
  select id, route, lane, expires_at from part),
queue as (
  insert into postbag.outbox_queue (delivery_id, due_at, lane, route)
  select id, due_at, lane, route from part),
recipient as (
  insert into postbag.outbox_recipient (delivery_id, ordinal, address, kind)
  select p.id, r.ordinality - 1, r.value ->> 0, r.value ->> 1
  from part p cross join lateral json_array_elements(p.recipients) with ordinality r)
select n from fresh`;

const KNOWN = `select i.scope, i.key, encode(i.content_sha256, 'hex') as hash, i.public_id,
    i.expires_at > (select postbag.outbox_now()) as valid
  from json_to_recordset($1::text::json) as g (scope text, key text)
  join postbag.outbox_idempotency i
    on ${isOne("i.scope", "g.scope")} and ${isOne("i.key", "g.key")}`;

/** Stores messages, each with its own answer. One statement, unless a key is already known. */
export async function enqueue(
  query: Query,
  messages: readonly NewMessage[],
): Promise<EnqueueResult[]> {
  const results: EnqueueResult[] = new Array(messages.length);
  let open = messages.map((message, n) => ({ message, n }));
  while (open.length > 0) {
    const turn = firstOfEachKey(open);
    const rows = await query(STORE, parametersOf(turn));
    const stored = new Set(rows.map(({ n }) => Number(n)));
    for (const { message, n } of turn) {
      if (stored.has(n)) results[n] = { kind: "stored", id: message.id };
    }
    const lost = turn.filter(({ n }) => !stored.has(n));
    for (const [n, result] of await resultsOfKnown(query, lost)) results[n] = result;
    // The rest has the key of another message of this call, or a key that expired just now.
    open = open.filter(({ n }) => results[n] === undefined);
  }
  return results;
}

/** Whether one of several messages has a key, so that storing them takes several statements. */
export function needsTransaction(messages: readonly NewMessage[]): boolean {
  return messages.length > 1 && messages.some(({ idempotency }) => idempotency !== undefined);
}

interface Numbered {
  readonly message: NewMessage;
  readonly n: number;
}

function firstOfEachKey(open: readonly Numbered[]): Numbered[] {
  const seen = new Set<string>();
  return open.filter(({ message: { idempotency } }) => {
    if (idempotency === undefined) return true;
    const key = keyOf(idempotency);
    return !seen.has(key) && seen.add(key);
  });
}

function parametersOf(turn: readonly Numbered[]): [string, Uint8Array] {
  let first = 0;
  const rows = turn.map(({ message, n }) => {
    const { idempotency } = message;
    const row = {
      n,
      id: message.id,
      reverse_path: message.reversePath,
      message_id_header: message.messageIdHeader,
      subject: message.subject && storable(message.subject),
      template: message.template,
      tags: message.tags,
      doubt: message.doubt,
      lane: laneNumbers[message.lane],
      send_at: whole(message.sendAtMs),
      expires_at: whole(message.expiresAtMs),
      expire_after: whole(message.expireAfterMs),
      first,
      size: message.bytes.length,
      ascii: isAscii(message.bytes) && !message.bytes.includes(0),
      deliveries: message.deliveries.map(({ route, recipients }) => [
        route,
        recipients.map(({ address, kind }) => [address, kind]),
      ]),
      scope: idempotency?.scope,
      key: idempotency?.key,
      hash: idempotency && hex(idempotency.contentSha256),
      keep: whole(idempotency?.keepMs),
    };
    first += message.bytes.length;
    return row;
  });
  const [only] = turn;
  const bytes = turn.length === 1 && only ? bufferOf(only.message.bytes) : joined(turn, first);
  return [JSON.stringify(rows), bytes];
}

/** At most 200 characters that the server can store: no NUL and no half of a surrogate pair. */
function storable(subject: string): string {
  return subject.slice(0, 200).replaceAll("\0", "").toWellFormed();
}

async function resultsOfKnown(
  query: Query,
  lost: readonly Numbered[],
): Promise<[number, EnqueueResult][]> {
  if (lost.length === 0) return [];
  const asked = lost.map(({ message: { idempotency }, n }) => {
    invariant(idempotency, "only a message with a key may be refused");
    return { n, own: idempotency };
  });
  const keys = JSON.stringify(asked.map(({ own: { scope, key } }) => ({ scope, key })));
  const rows = (await query(KNOWN, [keys])).filter(({ valid }) => valid);
  const known = new Map(rows.map((row) => [keyOf(row as { scope: string; key: string }), row]));
  return asked.flatMap(({ own, n }): [number, EnqueueResult][] => {
    const row = known.get(keyOf(own));
    if (row === undefined) return [];
    const kind = row.hash === hex(own.contentSha256) ? "duplicate" : "conflict";
    return [[n, { kind, id: String(row.public_id) }]];
  });
}

function keyOf({ scope, key }: { readonly scope: string; readonly key: string }): string {
  return JSON.stringify([scope, key]);
}

function hex(bytes: Uint8Array): string {
  return bufferOf(bytes).toString("hex");
}

/** pg sends a `Buffer` as bytes, and any other array as text. */
function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}

function joined(turn: readonly Numbered[], length: number): Buffer {
  return Buffer.concat(
    turn.map(({ message }) => message.bytes),
    length,
  );
}

function whole(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms);
}
