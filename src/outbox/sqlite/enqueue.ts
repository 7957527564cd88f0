/**
 * Enqueue as a series of statements, run one after the other by the owner of a connection: the
 * database thread, or the application's handle in its transaction, synchronously or by promises.
 */
import type { SQLInputValue } from "node:sqlite";
import { deliveriesPerMessage } from "../model/ids.ts";
import { type EnqueueResult, laneNumbers, type NewMessage } from "../model/rows.ts";
import type { PrepareHandle, QueryHandle } from "../model/store.ts";
import { uuidBytes, uuidText } from "./ids.ts";
import type { Row, Statements, Values } from "./statements.ts";

/** One statement; it has rows if it is a `select` or has a `returning`. */
interface Step {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
  readonly hasRows: boolean;
}

type Steps<Result> = Generator<Step, Result, readonly Row[]>;

const MESSAGE = `insert into outbox_message (id, public_id, reverse_path, message_id_header,
  subject, template, tags, doubt, size, created_at, bytes)`;
const DELIVERY = "insert into outbox_delivery (id, route, lane, queue_lane, due_at, expires_at)";
const RECIPIENT = "insert into outbox_recipient (delivery, ordinal, address, kind)";
const LAST_MESSAGE = "select max(id) as id from outbox_message";
const FIND_KEY = `select content_sha256, public_id from outbox_idempotency
  where scope = ? and key = ? and expires_at > ?`;
const STORE_KEY = `insert or replace into outbox_idempotency
  (scope, key, content_sha256, public_id, expires_at) values (?, ?, ?, ?, ?)`;

function messageRow(id: number | null, message: NewMessage, now: number): Values {
  return [
    id,
    uuidBytes(message.id),
    message.reversePath,
    message.messageIdHeader,
    message.subject?.slice(0, 200) ?? null,
    message.template ?? null,
    message.tags ? JSON.stringify(message.tags) : null,
    message.doubt,
    message.bytes.length,
    now,
    message.bytes,
  ];
}

/** The rows of the deliveries and recipients of a message with this row key. */
function deliveryRows(id: number, message: NewMessage, now: number) {
  const dueAtMs = Math.max(now, message.sendAtMs ?? now);
  const expiresAtMs = message.expiresAtMs ?? dueAtMs + message.expireAfterMs;
  const lane = laneNumbers[message.lane];
  const deliveries: Values[] = [];
  const recipients: Values[] = [];
  let delivery = id * deliveriesPerMessage;
  for (const { route, recipients: those } of message.deliveries) {
    delivery += 1;
    deliveries.push([delivery, route, lane, lane, dueAtMs, expiresAtMs]);
    let ordinal = 0;
    for (const { address, kind } of those) {
      recipients.push([delivery, ordinal, address, kind]);
      ordinal += 1;
    }
  }
  return { deliveries, recipients };
}

/** Decides whether a message is stored; with a known idempotency key it is not. */
function* keySteps({ id, idempotency }: NewMessage, now: number): Steps<EnqueueResult> {
  if (idempotency === undefined) return { kind: "stored", id };
  const { scope, key, contentSha256, keepMs } = idempotency;
  const [known] = yield { sql: FIND_KEY, values: [scope, key, now], hasRows: true };
  if (known) {
    const same = Buffer.compare(known.content_sha256 as Uint8Array, contentSha256) === 0;
    return { kind: same ? "duplicate" : "conflict", id: uuidText(known.public_id) };
  }
  const values = [scope, key, contentSha256, uuidBytes(id), now + keepMs];
  yield { sql: STORE_KEY, values, hasRows: false };
  return { kind: "stored", id };
}

/** All statements of one message. */
function* enqueueSteps(message: NewMessage, now: number): Steps<EnqueueResult> {
  const result = yield* keySteps(message, now);
  if (result.kind !== "stored") return result;
  const values = messageRow(null, message, now);
  const [stored] = yield { sql: `${MESSAGE} ${tuple(values)} returning id`, values, hasRows: true };
  const { deliveries, recipients } = deliveryRows(Number(stored?.id), message, now);
  for (const row of deliveries) yield insertOf(DELIVERY, row);
  for (const row of recipients) yield insertOf(RECIPIENT, row);
  return result;
}

function insertOf(into: string, values: Values): Step {
  return { sql: `${into} ${tuple(values)}`, values, hasRows: false };
}

function tuple(values: Values): string {
  return `values (${values.map(() => "?").join(", ")})`;
}

/** Stores messages through our own connection, many rows with one statement. */
export function enqueue(
  db: Statements,
  now: number,
  messages: readonly NewMessage[],
): EnqueueResult[] {
  if (messages.length === 0) return [];
  let key = Number(db.get(LAST_MESSAGE)?.id ?? 0);
  const rows = { messages: [] as Values[], deliveries: [] as Values[], recipients: [] as Values[] };
  const results = messages.map((message) => {
    const result = take(keySteps(message, now), ({ sql, values }) => db.all(sql, ...values));
    if (result.kind === "stored") {
      key += 1;
      const { deliveries, recipients } = deliveryRows(key, message, now);
      rows.messages.push(messageRow(key, message, now));
      rows.deliveries.push(...deliveries);
      rows.recipients.push(...recipients);
    }
    return result;
  });
  db.insert(MESSAGE, rows.messages);
  db.insert(DELIVERY, rows.deliveries);
  db.insert(RECIPIENT, rows.recipients);
  return results;
}

/** Runs the steps on a synchronous handle of the caller, in its open transaction. */
export function enqueueSync(
  handle: PrepareHandle,
  now: number,
  messages: readonly NewMessage[],
): EnqueueResult[] {
  const prepared = new Map<string, ReturnType<PrepareHandle["prepare"]>>();
  return messages.map((message) =>
    take(enqueueSteps(message, now), ({ sql, values, hasRows }) => {
      const statement = prepared.get(sql) ?? handle.prepare(sql);
      prepared.set(sql, statement);
      const given = values as unknown as never[];
      if (hasRows) return statement.all(...given) as Row[];
      statement.run(...given);
      return none;
    }),
  );
}

/** Runs the steps through the documented `query` of a handle. */
export async function enqueueByQuery(
  handle: QueryHandle,
  now: number,
  messages: readonly NewMessage[],
): Promise<EnqueueResult[]> {
  const results: EnqueueResult[] = [];
  for (const message of messages) {
    const steps = enqueueSteps(message, now);
    let step = steps.next();
    while (!step.done) {
      const { rows } = await handle.query(step.value.sql, [...step.value.values]);
      step = steps.next(rows);
    }
    results.push(step.value);
  }
  return results;
}

const none: readonly Row[] = [];

function take<Result>(steps: Steps<Result>, run: (step: Step) => readonly Row[]): Result {
  let step = steps.next();
  while (!step.done) step = steps.next(run(step.value));
  return step.value;
}
