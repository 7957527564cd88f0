/**
 * What a mail server tells its owner: one value per thing that happened, for the log and the metrics.
 */
import type { Address, Envelope, RecipientOutcome, Reply } from "../../mail/index.ts";
import type { SmtpLimits } from "./limits.ts";

/** A session, as far as it is known at the time. */
export interface SessionInfo {
  /** Unique in this process; also in the `Received` field. */
  readonly id: string;
  readonly protocol: "smtp" | "lmtp";
  /** The client's IP address; absent on a UNIX socket. */
  readonly clientAddress?: string;
  readonly clientPort?: number;
  /** The client is on this machine: loopback, or a UNIX socket. */
  readonly isLocal: boolean;
  /** What the client called itself; absent before HELO, EHLO or LHLO. */
  readonly helo?: string;
  /** Of the transaction under way. */
  readonly reversePath?: Address;
}

export type SmtpEvent =
  /** A session began. */
  | { readonly kind: "connected"; readonly session: SessionInfo }
  /** A session ended, by whichever side. */
  | { readonly kind: "disconnected"; readonly session: SessionInfo; readonly durationMs: number }
  /**
   * `Deliver` answered for a message. At least one outcome may be a refusal; `reply` is what an SMTP
   * client was told, and is absent on LMTP, where each outcome's own reply was sent.
   */
  | {
      readonly kind: "accepted";
      readonly session: SessionInfo;
      readonly envelope: Envelope;
      /** Octets of the stored message, with its `Received` field. */
      readonly size: number;
      /** One per recipient of the envelope, in order. */
      readonly outcomes: readonly RecipientOutcome[];
      readonly reply?: Reply;
      /** From the final dot to the answer of `Deliver`. */
      readonly durationMs: number;
      /** False when the client had gone before the reply could be sent. */
      readonly isAnswered: boolean;
    }
  /** A command or a message was refused for what it was. */
  | {
      readonly kind: "refused";
      readonly session: SessionInfo;
      readonly reply: Reply;
      readonly recipient?: Address;
    }
  /** A limit was reached. */
  | {
      readonly kind: "limit";
      readonly limit: keyof SmtpLimits;
      readonly reply: Reply;
      readonly session?: SessionInfo;
      readonly clientAddress?: string;
    }
  /** The client broke off in the middle of a message; nothing of it was kept. */
  | { readonly kind: "aborted"; readonly session: SessionInfo; readonly received: number }
  /** A fault of ours, or of a socket. The server goes on. */
  | {
      readonly kind: "error";
      readonly during: "session" | "recipient" | "spool" | "deliver" | "listen";
      readonly error: unknown;
      readonly session?: SessionInfo;
    };
