/**
 * The one contract between the rooms: an envelope and a message go in, one outcome for each
 * recipient comes out, durable on return.
 *
 * The SMTP and LMTP server calls a {@link Deliver}; the Maildir executor, the outbox and the SMTP
 * client each are one. The server does not know which of them it calls.
 */

/** A mailbox address of an SMTP path (RFC 5321 §4.1.2), without the angle brackets. */
export type Address = string;

/** The envelope of one mail transaction (RFC 5321 §2.3.1); the null reverse-path is `""`. */
export interface Envelope {
  readonly reversePath: Address;
  readonly recipients: readonly Address[];
}

/**
 * The bytes after DATA; they can be read more than once, such as for each recipient.
 *
 * Small messages are in memory. Above a limit of the room that received it a message is in a spool
 * file; `stream()` then takes less memory than `bytes()`.
 */
export interface Message {
  /** Exact number of bytes. */
  readonly size: number;
  /** Path of the spool file with exactly these bytes, if there is one. */
  readonly file?: string | undefined;
  /** Reads the whole message into memory. */
  bytes(): Promise<Uint8Array>;
  /** Reads the message from its first byte, in pieces of any size. */
  stream(): AsyncIterable<Uint8Array>;
}

/** The command that a reply answers; `local` for replies that no server sent. */
export type ReplyPhase = "connect" | "ehlo" | "mail" | "rcpt" | "data" | "message" | "local";

/** An SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 3463). */
export interface Reply {
  /** The three-digit code, such as 250 or 451. */
  readonly code: number;
  /** Such as `"4.3.1"`; absent if the server sent none. */
  readonly enhanced?: string | undefined;
  /** One line for a person, without codes, paths or configuration. */
  readonly text: string;
  readonly phase: ReplyPhase;
}

/** A recipient's copy in its mailbox, with figures of its commit. */
export interface StoredCopy {
  /** Path of the mailbox. */
  readonly mailbox: string;
  /** Name of the file in it. */
  readonly id: string;
  /** Messages in the same batch. */
  readonly batchSize: number;
  /** Milliseconds from the request to durable. */
  readonly durableMs: number;
}

/**
 * The outcome for one recipient. `scope` is the reach of a refusal: this recipient, the whole
 * message, or only the route; a refusal of the route does not judge the message and counts as no
 * attempt.
 */
export type RecipientOutcome =
  | {
      readonly kind: "delivered";
      readonly reply: Reply;
      /** For the log; absent unless the message went into a mailbox of ours. */
      readonly copy?: StoredCopy | undefined;
      /** The server that answered: `mx1.example.net [192.0.2.1]:25 TLSv1.3`, or `… unencrypted`. */
      readonly via?: string | undefined;
    }
  | {
      readonly kind: "deferred" | "failed";
      readonly reply: Reply;
      readonly scope: "recipient" | "message" | "route";
      /**
       * The connection ended between the final dot and its reply, so the server may have accepted
       * the message (RFC 5321 §4.5.3.2.6): sending it again may make a duplicate.
       */
      readonly inDoubt?: true | undefined;
      /** The server that answered; absent if none did. */
      readonly via?: string | undefined;
    };

export interface DeliverOptions {
  /** Ends waiting for admission. A message already in a commit gets the outcome of the commit. */
  readonly signal: AbortSignal;
  /** Awaited at the last instant before the message can be accepted; a rejection aborts. */
  readonly beforeCommit?: (() => Promise<void>) | undefined;
}

/** Takes responsibility for a message: one outcome per recipient, in order, durable on return. */
export type Deliver = (
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
) => Promise<readonly RecipientOutcome[]>;
