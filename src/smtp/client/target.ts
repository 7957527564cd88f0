/** Where a session goes, how long it waits there, and what it means when it does not get there. */
import type { Reply } from "../../mail/index.ts";
import type { Clock } from "../../system/index.ts";

/** Longest waits in milliseconds, by phase. */
export interface ClientTimeouts {
  /** For a TCP connection. @defaultValue 30,000 */
  readonly connectMs: number;
  /** For the greeting, and each reply before the mail begins. @defaultValue 300,000 */
  readonly greetingMs: number;
  /** For each reply to MAIL, RCPT. @defaultValue 300,000 */
  readonly commandMs: number;
  /** For the reply to DATA. @defaultValue 120,000 */
  readonly dataMs: number;
  /** For a block of the message to be taken. @defaultValue 180,000 */
  readonly blockMs: number;
  /** For the reply to the final dot; less makes duplicates. @defaultValue 600,000 */
  readonly finalDotMs: number;
}

/** RFC 5321 §4.5.3.2; it names none for connecting. */
export const rfcTimeouts: ClientTimeouts = {
  connectMs: 30_000,
  greetingMs: 300_000,
  commandMs: 300_000,
  dataMs: 120_000,
  blockMs: 180_000,
  finalDotMs: 600_000,
};

/**
 * How a connection is encrypted. `implicit`: from the first octet. `required`: STARTTLS with a valid
 * certificate, or nothing is sent. `opportunistic`: STARTTLS where offered, any certificate (RFC 7435).
 */
export type TlsUse = "implicit" | "required" | "opportunistic" | "never";

export interface SessionTarget {
  /** Name of the host, for its certificate and for the record. */
  readonly host: string;
  /** Where to connect when it is known already. @defaultValue host */
  readonly address?: string;
  readonly port: number;
  readonly tls: TlsUse;
  /** More for `tls.connect`, such as a private CA. */
  readonly tlsOptions?: { readonly ca?: string | Buffer; readonly rejectUnauthorized?: boolean };
  readonly auth?: { readonly user: string; readonly pass: string };
  readonly protocol?: "smtp" | "lmtp";
}

export interface SessionOptions {
  /** The name given in EHLO. */
  readonly name: string;
  readonly localAddress?: string;
  readonly timeouts: ClientTimeouts;
  readonly clock: Clock;
}

/** The way to the server is not open; `reply` says why, in the server's words where it spoke. */
export class RouteFailure extends Error {
  override readonly name = "RouteFailure";
  readonly reply: Reply;
  /** Who said so; nobody, where no connection was taken. */
  readonly via: string | undefined;

  constructor(reply: Reply, options?: { readonly cause?: unknown; readonly via?: string }) {
    super(reply.text, options);
    this.reply = reply;
    this.via = options?.via;
  }
}
