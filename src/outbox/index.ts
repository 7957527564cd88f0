/**
 * The door of the outbox: mail is kept with the application's own data, and sent until it arrives.
 */
export { type CapturedEnvelope, type CaptureOptions, captureMail } from "./capture.ts";
export {
  type ComposedMail,
  compose,
  type MailContent,
  type MailEnvelope,
  type MailFields,
  type RawMail,
} from "./compose.ts";
export {
  isUndecided,
  type Judgement,
  judge,
  keptReply,
  type Notify,
  PERMANENT_PREFIX,
  type Plan,
  POISON_CRASHES,
  planOf,
  QUARANTINE_CRASHES,
  replyLine,
  type Verdict,
} from "./entry.ts";
export { OutboxError, type OutboxErrorCode } from "./errors.ts";
export {
  type DeadLetter,
  type DispatcherOptions,
  EventDispatcher,
  type HookOptions,
  type OutboxHooks,
  wantedBy,
} from "./events.ts";
export {
  createOutbox,
  type Enqueued,
  type EnqueueOptions,
  type Mail,
  Outbox,
  type OutboxOptions,
} from "./outbox.ts";
export type {
  PostgresClient,
  PostgresPool,
  PostgresQuery,
} from "./postgres/database.ts";
export { KEEP_PLANS } from "./postgres/database.ts";
export { openPostgresStore } from "./postgres/open-store.ts";
export type { PostgresStoreOptions } from "./postgres/options.ts";
export { postgresMigrationSql } from "./postgres/schema.ts";
export {
  GREYLIST_MIN_MS,
  mtaRetry,
  type Random,
  type RetryPolicy,
  referenceRetry,
  retryDelayMs,
} from "./retry.ts";
export type * from "./rows.ts";
export { migrationSql as sqliteMigrationSql } from "./sqlite/schema.ts";
export { openSqliteStore, type SqliteStoreOptions } from "./sqlite/store.ts";
export type {
  DueListener,
  OutboxStore,
  PrepareHandle,
  QueryHandle,
  TransactionHandle,
} from "./store.ts";
export { type PostbagInfo, type PostbagMailOptions, postbagTransport } from "./transport.ts";
export { uuidv7 } from "./uuid.ts";
export type * from "./views.ts";
export { type TickReport, Worker, type WorkerStats } from "./worker/worker.ts";
export {
  type DeliveryFacts,
  type LogLine,
  type WorkerEvent,
  workerLogLine,
} from "./worker/worker-events.ts";
export type { WorkerOptions, WorkerProfile } from "./worker/worker-options.ts";
