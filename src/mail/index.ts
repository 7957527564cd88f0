/** Addresses, replies, outcomes, trace fields, the stored form of mail. No I/O, no other room. */
export { type AddressParts, addressParts, normaliseDomain, parsePath } from "./address.ts";
export type {
  Address,
  Deliver,
  DeliverOptions,
  Envelope,
  Message,
  RecipientOutcome,
  Reply,
  ReplyPhase,
  StoredCopy,
} from "./contract.ts";
export { MessageIntake, type MessageIntakeOptions } from "./intake.ts";
export { withCrlf } from "./line-endings.ts";
export { addressToMailbox, type MailboxLookup } from "./mailbox.ts";
export { MemoryBudget } from "./memory-budget.ts";
export { messageFromBytes } from "./message.ts";
export {
  delivered,
  formatReply,
  isTemporary,
  type RefusalScope,
  refused,
  reply,
} from "./reply.ts";
export {
  type DeliveryTrace,
  dateTime,
  deliveryHeaders,
  type LineEndings,
  type ReceivedTrace,
  receivedHeader,
  type TransmissionType,
} from "./trace.ts";
