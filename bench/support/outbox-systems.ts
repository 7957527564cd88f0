/**
 * The systems that the outbox benches compare: how each is filled, how it sends, and how many mails
 * its database has as done. Postbag on SQLite and PostgreSQL is here, the others are in
 * outbox-rivals.ts.
 */
import { DatabaseSync } from "node:sqlite";
import pg from "pg";
import type { Deliver } from "../../src/mail/index.ts";
import {
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
  Worker,
  type WorkerOptions,
} from "../../src/outbox/index.ts";
import { type BenchMail, newMessage } from "./outbox-mail.ts";

export interface OutboxSystem {
  readonly name: string;
  /** The database of the system. */
  readonly store: "postgres" | "sqlite";
  /** Text for the table: the settings that differ from the defaults, and the limits. */
  readonly settings: string;
  /** Text for the table: what the system records about a mail that was sent. */
  readonly keeps: string;
  /** Makes the tables and stores the mails, all due. `target` is a connection string or a file. */
  readonly fill: (target: string, mails: readonly BenchMail[]) => Promise<void>;
  /** Begins to send the mail of `target` by `deliver`. */
  readonly work: (target: string, deliver: Deliver) => Promise<Working>;
}

export interface Working {
  /** Returns the number of mails that are done in the database. */
  readonly completed: () => Promise<number>;
  readonly stop: () => Promise<void>;
}

/** The options of Postbag's worker that a row of the table sets. */
export type PostbagSettings = Partial<WorkerOptions>;

const keeps = "message, recipients, attempts, event, reply";
const outcomes = `select count(*) as done from $.outbox_delivery d
  join $.outbox_attempt a on a.delivery$ = d.id and a.outcome = 'delivered'
  join $.outbox_recipient r on r.delivery$ = d.id and r.status = 'delivered'
  where d.state = 'done'`;

export function postbagOnPostgres(settings: PostbagSettings = {}): OutboxSystem {
  const open = (connectionString: string) => openPostgresStore({ connectionString });
  return {
    name: "Postbag, PostgreSQL",
    store: "postgres",
    settings: described(settings),
    keeps,
    fill: async (target, mails) => fillStore(await open(target), mails),
    work: async (target, deliver) => {
      const sql = outcomes.replaceAll("$.", "postbag.").replaceAll("delivery$", "delivery_id");
      const count = await rowCounter(target, sql);
      const worker = startWorker(await open(target), deliver, settings);
      const stop = async () => {
        await worker.stop();
        await count.close();
      };
      return { completed: count.read, stop };
    },
  };
}

export function postbagOnSqlite(settings: PostbagSettings = {}): OutboxSystem {
  return {
    name: "Postbag, SQLite",
    store: "sqlite",
    settings: described(settings),
    keeps,
    fill: async (file, mails) => fillStore(await openSqliteStore({ file }), mails),
    work: async (file, deliver) => {
      const sql = outcomes.replaceAll("$.", "").replaceAll("delivery$", "delivery");
      const database = new DatabaseSync(file, { readOnly: true });
      const worker = startWorker(await openSqliteStore({ file }), deliver, settings);
      const stop = async () => {
        await worker.stop();
        database.close();
      };
      return { completed: async () => Number(database.prepare(sql).get()?.done), stop };
    },
  };
}

async function fillStore(store: OutboxStore, mails: readonly BenchMail[]): Promise<void> {
  const atOnce = 500;
  for (let from = 0; from < mails.length; from += atOnce) {
    const part = mails.slice(from, from + atOnce);
    await store.enqueue(part.map((mail) => newMessage(mail, true)));
  }
  await store.close();
}

function startWorker(store: OutboxStore, deliver: Deliver, settings: PostbagSettings) {
  const worker = new Worker({ ...settings, store, senderOf: () => deliver });
  worker.start();
  const stop = async () => {
    await worker.stop();
    await store.close();
  };
  return { stop };
}

function described({
  concurrency = 100,
  batchSize = 100,
  intents = true,
}: PostbagSettings): string {
  const words = [`${concurrency} in flight`, `claims of ${batchSize}`];
  return [...words, ...(intents ? [] : ["no intents"])].join(", ");
}

/** Opens a connection for a query whose result is one number. */
export async function rowCounter(connectionString: string, sql: string) {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return {
    read: async () => Number((await client.query(sql)).rows[0]?.done),
    close: () => client.end(),
  };
}
