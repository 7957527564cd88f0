/**
 * The everyday API: sends mail from an application, delivers into mailboxes, receives mail, batches
 * any calls.
 *
 * It loads every part. A program that needs one of them imports that alone and starts sooner:
 * `postbag/batcher`, `postbag/maildir`, `postbag/delivery`, `postbag/outbox`, `postbag/smtp`,
 * `postbag/system`, `postbag/mail`.
 */
export {
  Batcher,
  BatcherError,
  type BatcherOptions,
  fail,
  policies,
} from "./batcher/index.ts";
export {
  DeliveryError,
  DeliveryExecutor,
  type DeliveryExecutorOptions,
  localDelivery,
} from "./delivery/index.ts";
export {
  addressToMailbox,
  type Deliver,
  delivered,
  type Envelope,
  type Message,
  type RecipientOutcome,
  refused,
} from "./mail/index.ts";
export { Maildir, MaildirError, type MaildirOptions } from "./maildir/index.ts";
export {
  captureMail,
  createOutbox,
  type Enqueued,
  type EnqueueOptions,
  EventDispatcher,
  type Mail,
  Outbox,
  OutboxError,
  type OutboxHooks,
  type OutboxOptions,
  openPostgresStore,
  openSqliteStore,
  type PostgresStoreOptions,
  postbagTransport,
  type SqliteStoreOptions,
  Worker,
  type WorkerOptions,
} from "./outbox/index.ts";
export {
  type DirectClientOptions,
  directClient,
  type MailServer,
  type MailServerOptions,
  type RelayClientOptions,
  relayClient,
  SmtpError,
  startMailServer,
} from "./smtp/index.ts";
export { SystemError, writeFileDurably } from "./system/index.ts";
