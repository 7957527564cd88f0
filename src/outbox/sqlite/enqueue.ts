/**
 * The statements of one enqueue, as steps that whoever holds a connection runs in turn: our own thread
 * synchronously, an application's handle in its own transaction, synchronously or not.
 */
import type { SQLInputValue } from "node:sqlite";
import { DELIVERIES_PER_MESSAGE } from "../ids.ts";
import { type EnqueueResult, laneNumbers, type NewMessage } from "../rows.ts";
import type { PrepareHandle, QueryHandle } from "../store.ts";
import { uuidBytes, uuidText } from "./ids.ts";
import type { Row, Statements } from "./statements.ts";

/** One statement; it yields rows if it is a `select` or has a `returning`. */
export interface Step {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
  readonly rows: boolean;
}

type Steps<Result> = Generator<Step, Result, readonly Row[]>;

const INSERT_MESSAGE = `insert into outbox_message (public_id, reverse_path, message_id_header,
  subject, template, tags, doubt, size, created_at, bytes)
  values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning id`;
const INSERT_DELIVERY = `insert into outbox_delivery (id, route, lane, state, queue_lane, due_at, expires_at)
  values (?, ?, ?, 'pending', ?, ?, ?)`;
const INSERT_RECIPIENT = `insert into outbox_recipient (delivery, ordinal, address, kind, status)
  values (?, ?, ?, ?, 'pending')`;
const FIND_KEY = `select content_sha256, public_id from outbox_idempotency
  where scope = ? and key = ? and expires_at > ?`;
const KEEP_KEY = `insert or replace into outbox_idempotency
  (scope, key, content_sha256, public_id, expires_at) values (?, ?, ?, ?, ?)`;

/** All that one message needs: with an idempotency key, first the look whether it is known. */
export function* enqueueSteps(message: NewMessage, now: number): Steps<EnqueueResult> {
  const { id, idempotency } = message;
  if (idempotency) {
    const { scope, key, contentSha256, keepMs } = idempotency;
    const [known] = yield { sql: FIND_KEY, values: [scope, key, now], rows: true };
    if (known) {
      const same = Buffer.compare(known.content_sha256 as Uint8Array, contentSha256) === 0;
      return { kind: same ? "duplicate" : "conflict", id: uuidText(known.public_id) };
    }
    const values = [scope, key, contentSha256, uuidBytes(id), now + keepMs];
    yield { sql: KEEP_KEY, values, rows: false };
  }
  const [stored] = yield {
    sql: INSERT_MESSAGE,
    values: [
      uuidBytes(id),
      message.reversePath,
      message.messageIdHeader,
      message.subject?.slice(0, 200) ?? null,
      message.template ?? null,
      message.tags ? JSON.stringify(message.tags) : null,
      message.doubt,
      message.bytes.length,
      now,
      message.bytes,
    ],
    rows: true,
  };
  const key = Number(stored?.id);
  const dueAt = Math.max(now, message.sendAt ?? now);
  const expiresAt = message.expiresAt ?? dueAt + message.expireAfterMs;
  const lane = laneNumbers[message.lane];
  let delivery = key * DELIVERIES_PER_MESSAGE;
  for (const { route, recipients } of message.deliveries) {
    delivery += 1;
    const values = [delivery, route, lane, lane, dueAt, expiresAt];
    yield { sql: INSERT_DELIVERY, values, rows: false };
    for (let ordinal = 0; ordinal < recipients.length; ordinal += 1) {
      const { address, kind } = recipients[ordinal] as { address: string; kind: string };
      yield { sql: INSERT_RECIPIENT, values: [delivery, ordinal, address, kind], rows: false };
    }
  }
  return { kind: "stored", id };
}

/** Runs the steps on our own connection. */
export function enqueue(
  db: Statements,
  now: number,
  messages: readonly NewMessage[],
): EnqueueResult[] {
  return messages.map((message) =>
    take(enqueueSteps(message, now), ({ sql, values, rows }) => {
      if (rows) return db.all(sql, ...values);
      db.run(sql, ...values);
      return none;
    }),
  );
}

/** Runs the steps on a synchronous handle of the caller's, in the transaction that is open there. */
export function enqueueSync(
  handle: PrepareHandle,
  now: number,
  messages: readonly NewMessage[],
): EnqueueResult[] {
  const prepared = new Map<string, ReturnType<PrepareHandle["prepare"]>>();
  return messages.map((message) =>
    take(enqueueSteps(message, now), ({ sql, values, rows }) => {
      const statement = prepared.get(sql) ?? handle.prepare(sql);
      prepared.set(sql, statement);
      const given = values as unknown as never[];
      if (rows) return statement.all(...given) as Row[];
      statement.run(...given);
      return none;
    }),
  );
}

/** Runs the steps through the documented `query`. */
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
