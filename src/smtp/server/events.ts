/**
 * The events of a mail server: one value for each thing that happens, for the log and the metrics.
 */
import type { Address, Envelope, RecipientOutcome, Reply } from "../../mail/index.ts";
import type { SmtpLimits } from "./limits.ts";

/** A session, as far as the client has described itself at the time of the event. */
export interface SessionInfo {
  /** Unique in this process; also in the `Received` field. */
  readonly id: string;
  readonly protocol: "smtp" | "lmtp";
  /** The client's IP address; absent on a UNIX socket. */
  readonly clientAddress?: string | undefined;
  readonly clientPort?: number | undefined;
  /** The client is on this machine: loopback, or a UNIX socket. */
  readonly isLocal: boolean;
  /** The name in HELO, EHLO or LHLO; absent before it. */
  readonly helo?: string | undefined;
  /** The reverse-path of the current transaction; absent before MAIL. */
  readonly reversePath?: Address | undefined;
}

export type SmtpEvent =
  /** A session began. */
  | { readonly kind: "connected"; readonly session: SessionInfo }
  /** A session ended; either side may have closed it. */
  | { readonly kind: "disconnected"; readonly session: SessionInfo; readonly durationMs: number }
  /**
   * `deliver` returned the outcomes of a message; some or all of them may be refusals. `reply` is
   * the reply to an SMTP client. It is absent over LMTP, where each outcome's own reply is sent.
   */
  | {
      readonly kind: "accepted";
      readonly session: SessionInfo;
      readonly envelope: Envelope;
      /** Bytes of the stored message, with its `Received` field. */
      readonly size: number;
      /** One per recipient of the envelope, in order. */
      readonly outcomes: readonly RecipientOutcome[];
      readonly reply?: Reply | undefined;
      /** Milliseconds from the final dot until `deliver` returned. */
      readonly durationMs: number;
      /** False when the client disconnected before the reply. */
      readonly isAnswered: boolean;
    }
  /** The server refused a command or a message because of its content, and sent `reply`. */
  | {
      readonly kind: "refused";
      readonly session: SessionInfo;
      readonly reply: Reply;
      readonly recipient?: Address | undefined;
    }
  /** A client reached a limit and was sent `reply`. */
  | {
      readonly kind: "limit";
      readonly limit: keyof SmtpLimits;
      readonly reply: Reply;
      readonly session?: SessionInfo | undefined;
      readonly clientAddress?: string | undefined;
    }
  /** The client disconnected during DATA, after `received` bytes; nothing was stored. */
  | { readonly kind: "aborted"; readonly session: SessionInfo; readonly received: number }
  /** An error of this host or of a socket. The server continues. */
  | {
      readonly kind: "error";
      readonly during: "session" | "recipient" | "spool" | "deliver" | "listen";
      readonly error: unknown;
      readonly session?: SessionInfo | undefined;
    };
