/**
 * The store in one SQLite file, on a thread of its own: the embedded default.
 *
 * Calls that arrive during a commit share the next one, so that one flush of the disk serves all of
 * them. Several processes may use one file: SQLite lets one of them write at a time, and each keeps
 * the lock for one batch only.
 */
import { type Batch, Batcher, type Failure, fail } from "../../batcher/index.ts";
import { type Clock, systemClock } from "../../system/index.ts";
import { AfterCommit } from "../model/after-commit.ts";
import { refusal, wholeNumber } from "../model/checks.ts";
import { OutboxError, storeClosed } from "../model/errors.ts";
import type { NewMessage } from "../model/rows.ts";
import type { DueListener, OutboxStore, TransactionHandle } from "../model/store.ts";
import { enqueueByQuery, enqueueSync } from "./enqueue.ts";
import type { Answer, Argument, OperationName } from "./operations.ts";
import { type Access, type PackedCall, packCall, unpackError } from "./protocol.ts";
import { type DatabaseThread, startDatabaseThread } from "./start-thread.ts";

export interface SqliteStoreOptions {
  /** The database file, made if missing. It may have other tables, such as the application's. */
  readonly file: string;
  /** Most milliseconds to wait while another process writes. @defaultValue 5000 */
  readonly busyTimeoutMs?: number | undefined;
  /** Most calls in one commit. @defaultValue 128 */
  readonly maxBatch?: number | undefined;
  /** Most bytes of messages in one commit; a larger message goes alone. @defaultValue 16 MiB */
  readonly maxBatchBytes?: number | undefined;
  /** Whether to migrate the schema when opening. @defaultValue true */
  readonly migrate?: boolean | undefined;
  /** Its wall time is the time of the store. @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
}

/**
 * Opens the store, and creates or migrates its tables.
 *
 * @throws {OutboxError} ERR_OUTBOX_STORE when the file cannot be opened, ERR_OUTBOX_SCHEMA_VERSION
 *   when a newer program made it.
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<OutboxStore> {
  const { file, busyTimeoutMs = 5000, clock = systemClock } = options;
  if (typeof file !== "string" || file === "" || file === ":memory:") {
    throw refusal("file", "a path", file);
  }
  wholeNumber("busyTimeoutMs", busyTimeoutMs, 0);
  wholeNumber("maxBatch", options.maxBatch ?? defaultBatch, 1);
  wholeNumber("maxBatchBytes", options.maxBatchBytes ?? defaultBatchBytes, 1);
  const thread = await startDatabaseThread({ file, busyTimeoutMs });
  const store = new SqliteStore(thread, clock, options);
  try {
    if (options.migrate ?? true) await store.migrate();
    await store.checkVersion();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

const MiB = 1024 * 1024;
/** The bytes that each call adds to the size of a batch, beside those of its messages. */
const minCallBytes = 256;
const defaultBatch = 128;
const defaultBatchBytes = 16 * MiB;
/**
 * Requests at the thread at a time, so that the thread never waits for the event loop. The thread
 * commits waiting requests together while commits take long.
 */
const maxRequests = 4;
/** Fewest calls of a request that is posted while another one is at the thread. */
const minRequestCalls = 8;

class SqliteStore implements OutboxStore {
  readonly #thread: DatabaseThread;
  readonly #clock: Clock;
  readonly #calls: Batcher<Access, PackedCall, unknown>;
  readonly #listeners = new Set<DueListener>();
  readonly #afterCommit: AfterCommit;
  #closed: Promise<void> | undefined;

  constructor(thread: DatabaseThread, clock: Clock, options: SqliteStoreOptions) {
    this.#thread = thread;
    this.#clock = clock;
    this.#afterCommit = new AfterCommit(clock, (mail) => this.#announce(mail));
    const { maxBatch = defaultBatch, maxBatchBytes = defaultBatchBytes } = options;
    const requests = Math.min(maxRequests, maxBatch);
    const maxBatchItems = Math.floor(maxBatch / requests);
    this.#calls = new Batcher<Access, PackedCall, unknown>({
      name: "sqlite outbox",
      process: (batch) => this.#process(batch),
      maxBatchItems,
      maxBatchBytes: Math.ceil(maxBatchBytes / requests),
      keyConcurrency: requests,
      minBatchItems: Math.min(minRequestCalls, maxBatchItems),
      sizeOf: sizeOfCall,
      maxItems: 100_000,
      onFull: "wait",
    });
  }

  migrate(): Promise<{ from: number; to: number }> {
    return this.#schema("migrate") as Promise<{ from: number; to: number }>;
  }

  async checkVersion(): Promise<void> {
    await this.#schema("checkVersion");
  }

  async now(): Promise<number> {
    return this.#clock.wallTimeMs();
  }

  async enqueue(messages: readonly NewMessage[]) {
    const results = await this.#call("enqueue", messages);
    this.#announce(messages);
    return results;
  }

  async enqueueWithin(transaction: TransactionHandle, messages: readonly NewMessage[]) {
    const results = await enqueueThrough(transaction, this.#clock.wallTimeMs(), messages);
    if (this.#listeners.size > 0) this.#afterCommit.expect(messages);
    return results;
  }

  claim: OutboxStore["claim"] = (request) => this.#call("claim", request);
  body: OutboxStore["body"] = (message) => this.#call("body", message);
  renew: OutboxStore["renew"] = (leases, leaseMs) => this.#call("renew", { leases, leaseMs });
  intend: OutboxStore["intend"] = (intents) => this.#call("intend", intents);
  complete: OutboxStore["complete"] = (completions) => this.#call("complete", completions);
  release: OutboxStore["release"] = (releases) =>
    this.#call("release", releases).finally(() => this.#announce());
  nextDue: OutboxStore["nextDue"] = (lane) => this.#call("nextDue", lane);
  blockRoute: OutboxStore["blockRoute"] = (request) => this.#call("blockRoute", request);
  restoreRoute: OutboxStore["restoreRoute"] = (request) =>
    this.#call("restoreRoute", request).finally(() => this.#announce());
  cancel: OutboxStore["cancel"] = (id, { notify }) => this.#call("cancel", { id, notify });
  redrive: OutboxStore["redrive"] = (id, options) =>
    this.#call("redrive", { id, options }).finally(() => this.#announce());
  resolveDoubt: OutboxStore["resolveDoubt"] = (id, truth, { notify }) =>
    this.#call("resolveDoubt", { id, truth, notify }).finally(() => this.#announce());
  get: OutboxStore["get"] = (id) => this.#call("get", id);
  list: OutboxStore["list"] = (filter) => this.#call("list", filter);
  attempts: OutboxStore["attempts"] = (id) => this.#call("attempts", id);
  claimEvents: OutboxStore["claimEvents"] = (request) => this.#call("claimEvents", request);
  acknowledgeEvents: OutboxStore["acknowledgeEvents"] = (seqs) =>
    this.#call("acknowledgeEvents", seqs);
  deferEvents: OutboxStore["deferEvents"] = (seqs, delayMs) =>
    this.#call("deferEvents", { seqs, delayMs });
  purge: OutboxStore["purge"] = (request) => this.#call("purge", request);
  stats: OutboxStore["stats"] = () => this.#call("stats", undefined);

  onDue(listener: DueListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#afterCommit.close();
    this.#closed ??= this.#calls.close().then(() => this.#thread.close());
    return this.#closed;
  }

  /** Calls the listeners with each lane of new messages, or without a lane: any may be due. */
  #announce(messages?: readonly Pick<NewMessage, "lane">[]): void {
    if (this.#listeners.size === 0) return;
    const lanes = messages ? new Set(messages.map(({ lane }) => lane)) : [undefined];
    for (const listener of this.#listeners) {
      for (const lane of lanes) listener(lane);
    }
  }

  async #call<Name extends OperationName>(
    name: Name,
    argument: Argument<Name>,
  ): Promise<Answer<Name>> {
    if (this.#closed !== undefined) throw storeClosed();
    return (await this.#calls.add(accessOf(name), packCall(name, argument))) as Answer<Name>;
  }

  async #process({
    key,
    items,
  }: Batch<Access, PackedCall, void>): Promise<readonly (unknown | Failure)[]> {
    const now = Math.floor(this.#clock.wallTimeMs());
    try {
      const results = await this.#thread.run(key, now, items);
      return results.map((result) => (result.ok ? result.value : fail(unpackError(result.error))));
    } catch (error) {
      return items.map(() => fail(error));
    }
  }

  async #schema(kind: "migrate" | "checkVersion"): Promise<unknown> {
    if (this.#closed !== undefined) throw storeClosed();
    const result = await this.#thread.schema(kind);
    if (result.ok) return result.value;
    throw unpackError(result.error);
  }
}

async function enqueueThrough(
  transaction: TransactionHandle,
  now: number,
  messages: readonly NewMessage[],
) {
  if ("prepare" in transaction && typeof transaction.prepare === "function") {
    return enqueueSync(transaction, now, messages);
  }
  if ("query" in transaction && typeof transaction.query === "function") {
    return enqueueByQuery(transaction, now, messages);
  }
  throw new OutboxError(
    "ERR_OUTBOX_TRANSACTION",
    "tx has neither prepare() nor query(); for its kinds see docs/guides/send-from-your-app.md",
  );
}

const readNames: ReadonlySet<OperationName> = new Set<OperationName>([
  "body",
  "nextDue",
  "get",
  "list",
  "attempts",
  "stats",
]);

function accessOf(name: OperationName): Access {
  return readNames.has(name) ? "read" : "write";
}

function sizeOfCall({ bodies }: PackedCall): number {
  return bodies.reduce((bytes, { length }) => bytes + length, minCallBytes);
}
