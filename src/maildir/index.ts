/**
 * The Maildir format, and the commit that makes a batch of messages durable in their mailboxes.
 * Uses the rooms mail and system.
 */
export { type Body, bodySizes, type SpooledBody, writeBody } from "./body.ts";
export { deliverAll } from "./deliver.ts";
export { ensureMailboxes } from "./ensure-mailboxes.ts";
export { MaildirError, type MaildirErrorCode, type MaildirErrorFacts } from "./errors.ts";
export { addFlags, type Flags, parseFlags, removeFlags, serializeFlags } from "./flags.ts";
export type { Entry } from "./lookup.ts";
export { createKnownMailboxes, type KnownMailboxes, type Mailbox } from "./mailbox.ts";
export { type DeliverOptions, Maildir, type MaildirOptions } from "./maildir.ts";
export {
  createNameSource,
  type MessageId,
  type NameSource,
  type NameSourceOptions,
  sizesInName,
} from "./name.ts";
export { notFailed, type PendingDelivery, pendingDelivery } from "./pending-delivery.ts";
export { syncPlan } from "./plan.ts";
export type { DeliverTools, Delivery, DeliveryResult, SyncPlan } from "./tools.ts";
