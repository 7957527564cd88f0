/**
 * The store in PostgreSQL, for several workers and hosts; `open-store.ts` makes it.
 *
 * Concurrent calls of one process share a statement, and so a commit. No transaction outlives its
 * call, and a few connections are enough for any number of mails under way. Instants are those of
 * the server: the clocks of workers do not matter.
 */
import { type Batch, Batcher, type Failure, fail } from "../../batcher/index.ts";
import { systemClock } from "../../system/index.ts";
import { OutboxError, storeClosed } from "../model/errors.ts";
import type { Completion, CompletionResult, NewMessage, Release } from "../model/rows.ts";
import type { OutboxStore, TransactionHandle } from "../model/store.ts";
import { body, claim, nextDue, type Renewal, release, renew } from "./claim.ts";
import { answeredBefore, type Intent, intend, isSuccess, recordLost, settle } from "./complete.ts";
import { type Database, isOwnFault, type Query } from "./database.ts";
import { DueSignal } from "./due-signal.ts";
import { enqueue, needsTransaction } from "./enqueue.ts";
import { acknowledgeEvents, blockRoute, claimEvents, deferEvents, restoreRoute } from "./events.ts";
import { cancel, purge, redrive, resolveDoubt } from "./manage.ts";
import { checkVersion, migrate } from "./migrate.ts";
import { defaultBatch, defaultBatchBytes, type PostgresStoreOptions } from "./options.ts";
import { attempts, get, list, stats } from "./read.ts";
import { inSchema } from "./schema.ts";

/** The bytes that each call adds to the size of a batch, beside those of its messages. */
const minCallBytes = 256;
/** Statements of one kind at a time: one is prepared while the other commits. */
const maxConcurrentFlushes = 2;

type Kind = "enqueue" | "intend" | "complete" | "renew" | "release";
/** The list of a call; its answer is a list, too. */
type Call = readonly unknown[];

export class PostgresStore implements OutboxStore {
  readonly #db: Database;
  readonly #schema: string;
  readonly #signal: DueSignal;
  readonly #shared: Batcher<Kind, Call, Call>;
  readonly #keyed: Batcher<"keyed", readonly NewMessage[], Call>;
  readonly #underWay = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  constructor(
    db: Database,
    options: PostgresStoreOptions & { readonly schema: string; readonly connections: number },
  ) {
    const { schema, connections, notify = false, clock = systemClock } = options;
    this.#db = db;
    this.#schema = schema;
    this.#signal = new DueSignal({ db, schema, clock, notify });
    this.#shared = new Batcher<Kind, Call, Call>({
      name: "postgres outbox",
      process: (batch) => this.#flush(batch),
      maxBatchItems: options.maxBatch ?? defaultBatch,
      maxBatchBytes: options.maxBatchBytes ?? defaultBatchBytes,
      sizeOf: sizeOfCall,
      keyConcurrency: maxConcurrentFlushes,
      maxItems: 100_000,
      onFull: "wait",
    });
    // An enqueue with a key may wait for the application's transaction that uses this key: so it
    // shares no statement with others, and such calls get only some of the connections.
    this.#keyed = new Batcher({
      name: "postgres outbox, keys",
      process: async ({ items: [messages] }) => [await this.#enqueueKeyed(messages ?? [])],
      maxBatchItems: 1,
      keyConcurrency: Math.max(1, Math.floor(connections / 2)),
      maxItems: 100_000,
      onFull: "wait",
    });
  }

  migrate = () => this.#direct(() => migrate(this.#db));
  checkVersion = () => this.#direct(() => checkVersion(this.#db));
  now = () =>
    this.#direct(async () => {
      const [row] = await this.#db.read("select postbag.outbox_now() as now");
      return Number(row?.now);
    });

  enqueue: OutboxStore["enqueue"] = async (messages) => {
    const keyed = messages.some(({ idempotency }) => idempotency !== undefined);
    const answer = keyed
      ? this.#direct(() => this.#keyed.add("keyed", messages))
      : this.#share("enqueue", messages);
    const results = await answer;
    this.#signal.announce(messages);
    return results as Awaited<ReturnType<OutboxStore["enqueue"]>>;
  };

  async enqueueWithin(transaction: TransactionHandle, messages: readonly NewMessage[]) {
    if (!("query" in transaction) || typeof transaction.query !== "function") {
      throw new OutboxError(
        "ERR_OUTBOX_TRANSACTION",
        "tx has no query(text, values); for its kinds see docs/guides/send-from-your-app.md",
      );
    }
    const results = await enqueue(async (sql, values = []) => {
      const { rows } = await transaction.query(inSchema(sql, this.#schema), [...values]);
      return rows;
    }, messages);
    this.#signal.announceSoon(messages);
    return results;
  }

  claim: OutboxStore["claim"] = (request) => this.#joined((query) => claim(query, request));
  body: OutboxStore["body"] = (message) => this.#read((query) => body(query, message));
  renew: OutboxStore["renew"] = (leases, leaseMs) =>
    this.#share(
      "renew",
      leases.map(({ delivery, token }) => ({ delivery, token, leaseMs })),
    );
  intend: OutboxStore["intend"] = (intents) => this.#share("intend", intents);
  complete: OutboxStore["complete"] = (completions) => this.#share("complete", completions);
  release: OutboxStore["release"] = (releases) =>
    this.#share<boolean>("release", releases).finally(() => this.#signal.announce());
  nextDue: OutboxStore["nextDue"] = (lane) => this.#read((query) => nextDue(query, lane));
  onDue: OutboxStore["onDue"] = (listener) => this.#signal.onDue(listener);
  blockRoute: OutboxStore["blockRoute"] = (request) =>
    this.#direct(() => blockRoute(this.#db.write, this.#db.read, request));
  restoreRoute: OutboxStore["restoreRoute"] = (request) =>
    this.#within((query) => restoreRoute(query, request)).finally(() => this.#signal.announce());
  cancel: OutboxStore["cancel"] = (id, { notify }) =>
    this.#within((query) => cancel(query, id, notify));
  redrive: OutboxStore["redrive"] = (id, options) =>
    this.#within((query) => redrive(query, id, options)).finally(() => this.#signal.announce());
  resolveDoubt: OutboxStore["resolveDoubt"] = (id, truth, { notify }) =>
    this.#within((query) => resolveDoubt(query, id, truth, notify)).finally(() =>
      this.#signal.announce(),
    );
  get: OutboxStore["get"] = (id) => this.#read((query) => get(query, id));
  list: OutboxStore["list"] = (filter) => this.#read((query) => list(query, filter));
  attempts: OutboxStore["attempts"] = (id) => this.#read((query) => attempts(query, id));
  claimEvents: OutboxStore["claimEvents"] = (request) =>
    this.#joined((query) => claimEvents(query, request));
  acknowledgeEvents: OutboxStore["acknowledgeEvents"] = (seqs) =>
    this.#direct(() => acknowledgeEvents(this.#db.write, seqs));
  deferEvents: OutboxStore["deferEvents"] = (seqs, delayMs) =>
    this.#direct(() => deferEvents(this.#db.write, seqs, delayMs));
  purge: OutboxStore["purge"] = (request) => this.#within((query) => purge(query, request));
  stats: OutboxStore["stats"] = () => this.#read(stats);

  close(): Promise<void> {
    this.#closed ??= (async () => {
      await Promise.all([this.#shared.close(), this.#keyed.close()]);
      await Promise.allSettled(this.#underWay);
      await this.#signal.close();
      await this.#db.close();
    })();
    return this.#closed;
  }

  #read<Result>(work: (query: Query) => Promise<Result>): Promise<Result> {
    return this.#direct(() => work(this.#db.read));
  }

  #joined<Result>(work: (query: Query) => Promise<Result>): Promise<Result> {
    return this.#direct(() => work(this.#db.writeJoined));
  }

  #within<Result>(work: (query: Query) => Promise<Result>): Promise<Result> {
    return this.#direct(() => this.#db.transaction(work));
  }

  async #direct<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#closed !== undefined) throw storeClosed();
    const working = work();
    this.#underWay.add(working);
    try {
      return await working;
    } finally {
      this.#underWay.delete(working);
    }
  }

  /** Adds a call to a batch of its kind, which shares a statement. */
  async #share<Answer>(kind: Kind, items: Call): Promise<readonly Answer[]> {
    if (this.#closed !== undefined) throw storeClosed();
    if (items.length === 0) return [];
    return (await this.#shared.add(kind, items)) as readonly Answer[];
  }

  /** Runs the calls of a batch as one statement; if one call is at fault, each on its own. */
  async #flush({ key, items: calls }: Batch<Kind, Call, void>): Promise<(Call | Failure)[]> {
    try {
      return await this.#run(key, calls);
    } catch (error) {
      if (calls.length === 1 || !isOwnFault(error)) return calls.map(() => fail(error));
    }
    const answers: (Call | Failure)[] = [];
    for (const call of calls) {
      answers.push(...(await this.#run(key, [call]).catch((error) => [fail(error)])));
    }
    return answers;
  }

  async #run(kind: Kind, calls: readonly Call[]): Promise<(Call | Failure)[]> {
    const { write, writeJoined } = this.#db;
    switch (kind) {
      case "enqueue":
        return split(calls, await enqueue(write, itemsOf<NewMessage>(calls)));
      case "renew":
        return split(calls, await renew(writeJoined, itemsOf<Renewal>(calls)));
      case "intend":
        return split(calls, await intend(writeJoined, itemsOf<Intent>(calls)));
      case "release":
        return split(calls, await release(writeJoined, itemsOf<Release>(calls)));
      case "complete": {
        const settled = split(calls, await settle(writeJoined, itemsOf<Completion>(calls)));
        const answers = calls.map((call, index) =>
          this.#recordLost(itemsOf<Completion>([call]), settled[index] ?? []),
        );
        return Promise.all(answers);
      }
    }
  }

  /** Answers the completions under invalid leases, and stores their successes. */
  async #recordLost(
    completions: readonly Completion[],
    settled: readonly (CompletionResult | undefined)[],
  ): Promise<readonly CompletionResult[] | Failure> {
    const results: CompletionResult[] = [];
    for (const [index, completion] of completions.entries()) {
      try {
        results.push(settled[index] ?? (await this.#answerLost(completion)));
      } catch (error) {
        if (completions.length === 1) return fail(error);
        const text = "Not all completions were written; repeat the call.";
        return fail(new OutboxError("ERR_OUTBOX_IN_DOUBT", text, { cause: error }));
      }
    }
    return results;
  }

  async #answerLost(completion: Completion): Promise<CompletionResult> {
    const before = await answeredBefore(this.#db.read, completion);
    if (before) return before;
    if (!isSuccess(completion)) return { kind: "lost", finished: false };
    return this.#db.transaction((query) => recordLost(query, completion));
  }

  #enqueueKeyed(messages: readonly NewMessage[]): Promise<Call> {
    if (!needsTransaction(messages)) return enqueue(this.#db.write, messages);
    return this.#db.transaction((query) => enqueue(query, messages));
  }
}

/** The items of calls of one kind, which all have the type of that kind. */
function itemsOf<Item>(calls: readonly Call[]): Item[] {
  return calls.flat() as Item[];
}

/** Splits the answers to all calls into those of each call. */
function split<Answer>(calls: readonly Call[], answers: readonly Answer[]): Answer[][] {
  let end = 0;
  return calls.map(({ length }) => {
    end += length;
    return answers.slice(end - length, end);
  });
}

function sizeOfCall(call: Call): number {
  let bytes = minCallBytes;
  for (const item of call) bytes += (item as Partial<NewMessage>).bytes?.length ?? 0;
  return bytes;
}
