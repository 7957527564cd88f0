export type {
  Address,
  Deliver,
  DeliverOptions,
  Envelope,
  Message,
  RecipientOutcome,
  Reply,
  ReplyPhase,
} from "./contract.ts";
