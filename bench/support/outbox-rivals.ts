/**
 * Other systems that send mail from PostgreSQL: the reference protocol (a transaction around each
 * send), graphile-worker and pg-boss, used as their documentation says, all with the same sender.
 * Postbag is in outbox-systems.ts.
 */
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";
import { PgBoss } from "pg-boss";
import type { Deliver } from "../../src/mail/index.ts";
import { type BenchMail, messageOf } from "./outbox-mail.ts";
import { type OutboxSystem, rowCounter } from "./outbox-systems.ts";

const forever = new AbortController().signal;

/** Gives a mail to the sender; throws unless the sender delivered it. */
async function send(deliver: Deliver, { from, to, raw }: Omit<BenchMail, "key">): Promise<void> {
  const envelope = { reversePath: from, recipients: [to] };
  const [outcome] = await deliver(envelope, messageOf(raw), { signal: forever });
  if (outcome?.kind !== "delivered") throw new Error(outcome?.reply.text);
}

function chunks<T>(list: readonly T[], size: number): T[][] {
  const count = Math.ceil(list.length / size);
  return Array.from({ length: count }, (_, at) => list.slice(at * size, (at + 1) * size));
}

/**
 * One transaction for each mail, which is open during the send, so that the lock on its row is the
 * lease; as many mails at a time as connections. It has no pause between ticks and uses prepared
 * statements, so that only the protocol is measured.
 */
export function referenceProtocol(connections: number): OutboxSystem {
  return {
    name: "reference protocol",
    store: "postgres",
    settings: `${connections} connection${connections === 1 ? "" : "s"}, transaction open during the send`,
    keeps: "message, recipients without a status, attempts",
    fill: async (target, mails) => {
      const client = new pg.Client({ connectionString: target });
      await client.connect();
      await client.query(referenceTables);
      for (const part of chunks(mails, 500)) {
        await client.query(
          `with given as (select * from json_to_recordset($1) as g (key uuid, "from" text, "to" text, raw text)),
          payload as (insert into mail_payload (payload_id, sender, body)
            select key, "from", convert_to(raw, 'UTF8') from given),
          recipient as (insert into mail_recipient select key, "to", 'to' from given)
          insert into mail_delivery (delivery_id, template_id, idempotency_key, status, payload_id)
            select key, 'bench', key::text, 'pending', key from given`,
          [JSON.stringify(part)],
        );
      }
      await client.end();
    },
    work: async (target, deliver) => {
      const sql = `select count(*) as done from mail_delivery join mail_attempt using (delivery_id)
        where status = 'sent' and outcome = 'success'`;
      const count = await rowCounter(target, sql);
      const stopping = new AbortController();
      const workers = Array.from({ length: connections }, () =>
        referenceWorker(target, deliver, stopping.signal),
      );
      const stop = async () => {
        stopping.abort();
        await Promise.all(workers);
        await count.close();
      };
      return { completed: count.read, stop };
    },
  };
}

const referenceTables = `create table mail_payload (payload_id uuid primary key, sender text not null, body bytea not null);
create table mail_delivery (delivery_id uuid primary key, template_id text not null,
  idempotency_key text not null, status text not null, attempts integer not null default 0,
  next_attempt_at timestamptz not null default now(), payload_id uuid not null, last_error text,
  created_at timestamptz not null default now(), sent_at timestamptz,
  unique (template_id, idempotency_key));
create index mail_delivery_due on mail_delivery (next_attempt_at) where status in ('pending', 'retrying');
create table mail_recipient (delivery_id uuid not null, address text not null, kind text not null,
  primary key (delivery_id, address));
create table mail_attempt (delivery_id uuid not null, attempt_no integer not null,
  started_at timestamptz not null, finished_at timestamptz not null, outcome text not null, error text,
  primary key (delivery_id, attempt_no));`;

async function referenceWorker(
  connectionString: string,
  deliver: Deliver,
  stopping: AbortSignal,
): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  const query = (name: string, text: string, values: unknown[] = []) =>
    client.query({ name, text, values });
  while (!stopping.aborted) {
    await query("begin", "begin");
    const { rows } = await query(
      "claim",
      `select delivery_id, payload_id from mail_delivery
      where status in ('pending', 'retrying') and next_attempt_at <= now()
      order by next_attempt_at limit 1 for update skip locked`,
    );
    const claimed = rows[0];
    if (claimed === undefined) {
      await query("commit", "commit");
      break;
    }
    const id = claimed.delivery_id;
    const { rows: payloads } = await query(
      "payload",
      `select sender, body, array(select address from mail_recipient where delivery_id = $1) as "to"
      from mail_payload where payload_id = $2`,
      [id, claimed.payload_id],
    );
    const { sender, body, to } = payloads[0];
    const startedAt = new Date();
    await send(deliver, { from: sender, to: to[0], raw: body.toString("latin1") });
    await query(
      "attempt",
      `insert into mail_attempt (delivery_id, attempt_no, started_at, finished_at, outcome)
      select $1, coalesce(max(attempt_no), 0) + 1, $2, now(), 'success'
      from mail_attempt where delivery_id = $1 returning attempt_no`,
      [id, startedAt],
    );
    await query(
      "sent",
      `update mail_delivery set status = 'sent', attempts = attempts + 1, sent_at = now()
      where delivery_id = $1`,
      [id],
    );
    await query("commit", "commit");
  }
  await client.end();
}

export interface GraphileSettings {
  readonly concurrency: number;
  /**
   * Jobs that are fetched together and completed together. @defaultValue each job is fetched and
   * completed alone
   */
  readonly localQueue?: number;
}

const silent = new Logger(() => () => {});

export function graphileWorker({ concurrency, localQueue }: GraphileSettings): OutboxSystem {
  const batched = localQueue
    ? { localQueue: { size: localQueue }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
    : {};
  return {
    name: "graphile-worker",
    store: "postgres",
    settings:
      `concurrency ${concurrency}` +
      (localQueue ? `, localQueue ${localQueue}, completeJobBatchDelay 0` : ""),
    keeps: "nothing: the job is deleted",
    fill: async (connectionString, mails) => {
      const utils = await makeWorkerUtils({ connectionString, logger: silent });
      await utils.migrate();
      for (const part of chunks(mails, 500)) {
        await utils.addJobs(
          part.map(({ key, ...payload }) => ({ identifier: "mail", payload, jobKey: key })),
        );
      }
      await utils.release();
    },
    work: async (connectionString, deliver) => {
      const sql = "select count(*) as done from graphile_worker._private_jobs";
      const left = await rowCounter(connectionString, sql);
      const filled = await left.read();
      const runner = await run({
        connectionString,
        concurrency,
        logger: silent,
        noHandleSignals: true,
        preset: { worker: batched },
        taskList: { mail: (payload) => send(deliver, payload as BenchMail) },
      });
      const stop = async () => {
        await runner.stop();
        await left.close();
      };
      return { completed: async () => filled - (await left.read()), stop };
    },
  };
}

export interface PgBossSettings {
  readonly batchSize: number;
  readonly workers: number;
}

export function pgBoss({ batchSize, workers }: PgBossSettings): OutboxSystem {
  const open = async (connectionString: string) => {
    const boss = new PgBoss({ connectionString, schedule: false, supervise: false });
    boss.on("error", (error) => console.error("pg-boss:", error));
    return boss.start();
  };
  return {
    name: "pg-boss",
    store: "postgres",
    settings: `batchSize ${batchSize}, ${workers} worker${workers === 1 ? "" : "s"}, burst`,
    keeps: "job with state and output; no attempts, no recipients",
    fill: async (target, mails) => {
      const boss = await open(target);
      await boss.createQueue("mail");
      for (const part of chunks(mails, 500)) {
        await boss.insert(
          "mail",
          part.map(({ key, ...data }) => ({ id: key, data })),
        );
      }
      await boss.stop({ graceful: false });
    },
    work: async (target, deliver) => {
      const sql =
        "select count(*) as done from pgboss.job where name = 'mail' and state = 'completed'";
      const count = await rowCounter(target, sql);
      const boss = await open(target);
      await boss.work<BenchMail>(
        "mail",
        {
          batchSize,
          localConcurrency: workers,
          pollingIntervalSeconds: 0.5,
          burstWhenBatchFull: true,
        },
        async (jobs) => {
          await Promise.all(jobs.map(({ data }) => send(deliver, data)));
        },
      );
      const stop = async () => {
        await boss.stop();
        await count.close();
      };
      return { completed: count.read, stop };
    },
  };
}
