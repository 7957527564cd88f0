/**
 * The one contract that joins the rooms: an envelope and a message go in, one outcome per recipient
 * comes out, each of them durable by the time it is returned.
 *
 * The SMTP and LMTP server calls a {@link Deliver}; the Maildir executor, the outbox and the SMTP
 * client each are one. No room needs to know which of them stands behind it.
 */

/** A mailbox address as it stands in an SMTP path (RFC 5321 §4.1.2), without the angle brackets. */
export type Address = string;

/** The envelope of one mail transaction (RFC 5321 §2.3.1); the null reverse-path is `""`. */
export interface Envelope {
  readonly reversePath: Address;
  readonly recipients: readonly Address[];
}

/**
 * The bytes after DATA, re-readable as often as there are recipients.
 *
 * Small messages are held in memory; past a limit of the room that made it a message lives in a
 * spool file, and `bytes()` is then the expensive way to read it.
 */
export interface Message {
  /** Octets in {@link Message.stream}, exact. */
  readonly size: number;
  /** The spool file that holds these octets and nothing else, when there is one. */
  readonly file?: string;
  /** Reads the whole message into memory. */
  bytes(): Promise<Uint8Array>;
  /** Reads the message from its first octet, in pieces of any size. */
  stream(): AsyncIterable<Uint8Array>;
}

/** The command in answer to which a reply was given. */
export type ReplyPhase = "connect" | "ehlo" | "mail" | "rcpt" | "data" | "message" | "local";

/** An SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 3463). */
export interface Reply {
  /** The three-digit code, such as 250 or 451. */
  readonly code: number;
  /** Such as `"4.3.1"`; absent where the other side sent none. */
  readonly enhanced?: string;
  /** One line for a person, without codes, paths or configuration. */
  readonly text: string;
  readonly phase: ReplyPhase;
}

/** A recipient's copy in its mailbox, and what it took to make it durable. */
export interface StoredCopy {
  /** Path of the mailbox. */
  readonly mailbox: string;
  /** Name of the file in it. */
  readonly id: string;
  /** Messages that were made durable together. */
  readonly batchSize: number;
  /** From asking for it to durable. */
  readonly durableMs: number;
}

/**
 * What became of one recipient. `scope` says how far a refusal reaches: this recipient, the whole
 * message, or only the route, which says nothing about the message and spends no attempt.
 */
export type RecipientOutcome =
  | {
      readonly kind: "delivered";
      readonly reply: Reply;
      /** For the log; absent where the message went somewhere else than into a mailbox of ours. */
      readonly copy?: StoredCopy;
      /**
       * Who answered, such as `mx1.example.net [192.0.2.1]:25 TLSv1.3`, or `unencrypted` at its
       * end.
       */
      readonly via?: string;
    }
  | {
      readonly kind: "deferred" | "failed";
      readonly reply: Reply;
      readonly scope: "recipient" | "message" | "route";
      /**
       * The connection ended between the final dot and its reply, so the other side may have
       * taken the message (RFC 5321 §4.5.3.2.6): to send it again may make a duplicate.
       */
      readonly inDoubt?: true;
      /** Who answered; absent where nobody did. */
      readonly via?: string;
    };

export interface DeliverOptions {
  /** Ends waiting for admission. What has been taken into a commit is answered with the truth. */
  readonly signal: AbortSignal;
  /** Awaited at the last instant at which nothing can have been accepted; a rejection aborts. */
  readonly beforeCommit?: () => Promise<void>;
}

/**
 * Takes responsibility for a message: one outcome per recipient, in order, each durable on
 * return.
 */
export type Deliver = (
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
) => Promise<readonly RecipientOutcome[]>;
