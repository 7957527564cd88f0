/**
 * The public names of the outbox, which stores mail beside the application's own data and sends it
 * with retries until it is delivered or given up. Uses the rooms `batcher`, `mail` and
 * `system`.
 */
export { type CapturedEnvelope, type CaptureOptions, captureMail } from "./capture.ts";
export {
  type ComposedMail,
  compose,
  type MailContent,
  type MailEnvelope,
  type MailFields,
  type RawMail,
} from "./compose/compose.ts";
export {
  type DeadLetter,
  type DispatcherOptions,
  EventDispatcher,
  type HookOptions,
  type OutboxHooks,
  wantedBy,
} from "./hooks.ts";
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
} from "./model/delivery-state.ts";
export { OutboxError, type OutboxErrorCode } from "./model/errors.ts";
export {
  GREYLIST_MIN_MS,
  mtaRetry,
  type Random,
  type RetryPolicy,
  referenceRetry,
  retryDelayMs,
} from "./model/retry.ts";
export type * from "./model/rows.ts";
export type {
  DueListener,
  OutboxStore,
  PrepareHandle,
  QueryHandle,
  TransactionHandle,
} from "./model/store.ts";
export { uuidv7 } from "./model/uuid.ts";
export type * from "./model/views.ts";
export {
  type PostbagInfo,
  type PostbagMailOptions,
  postbagTransport,
} from "./nodemailer-transport.ts";
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
export { migrationSql as sqliteMigrationSql } from "./sqlite/schema.ts";
export { openSqliteStore, type SqliteStoreOptions } from "./sqlite/store.ts";
export {
  type DeliveryFacts,
  type LogLine,
  type WorkerEvent,
  workerLogLine,
} from "./worker/events.ts";
export type { WorkerOptions, WorkerProfile } from "./worker/options.ts";
export { type TickReport, Worker, type WorkerStats } from "./worker/worker.ts";
