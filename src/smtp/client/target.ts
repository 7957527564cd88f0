/** The server that a session connects to, its timeouts, and the failure to open it. */
import type { ConnectionOptions } from "node:tls";
import type { Reply } from "../../mail/index.ts";
import type { Clock } from "../../system/index.ts";

/** Time limits of each phase, in milliseconds. */
export interface ClientTimeouts {
  /** For a TCP connection. @defaultValue 30,000 */
  readonly connectMs: number;
  /** For the greeting, and each reply before the mail begins. @defaultValue 300,000 */
  readonly greetingMs: number;
  /** For each reply to MAIL, RCPT. @defaultValue 300,000 */
  readonly commandMs: number;
  /** For the reply to DATA. @defaultValue 120,000 */
  readonly dataMs: number;
  /** For the server to take a block of the message. @defaultValue 180,000 */
  readonly blockMs: number;
  /** For the reply to the final dot; a shorter limit makes duplicates. @defaultValue 600,000 */
  readonly finalDotMs: number;
}

/** The limits of RFC 5321 §4.5.3.2, which has none for connecting. */
export const rfcTimeouts: ClientTimeouts = {
  connectMs: 30_000,
  greetingMs: 300_000,
  commandMs: 300_000,
  dataMs: 120_000,
  blockMs: 180_000,
  finalDotMs: 600_000,
};

/**
 * Time for one of several addresses to connect, in milliseconds; the last one has all that is left.
 * Node's own 250 ms give up a distant host, and one that answers the repeated SYN (RFC 6298 §2.1).
 */
export const maxAddressMs = 3_000;

/**
 * How a connection is encrypted. `implicit`: from its first byte. `required`: STARTTLS with a valid
 * certificate, or nothing is sent. `opportunistic` (RFC 7435): STARTTLS where offered, any
 * certificate.
 */
export type TlsUse = "implicit" | "required" | "opportunistic" | "never";

export interface TlsOptions {
  readonly ca?: string | Buffer;
  readonly rejectUnauthorized?: boolean;
  readonly checkServerIdentity?: ConnectionOptions["checkServerIdentity"];
}

export interface SessionTarget {
  /** Name of the host; its certificate must have it, and outcomes show it. */
  readonly host: string;
  /** IP address to connect to. @defaultValue the addresses of `host` */
  readonly address?: string | undefined;
  readonly port: number;
  readonly tls: TlsUse;
  /** Options for `tls.connect`, such as a private CA. */
  readonly tlsOptions?: TlsOptions | undefined;
  readonly auth?: { readonly user: string; readonly pass: string } | undefined;
  /** @defaultValue "smtp" */
  readonly protocol?: "smtp" | "lmtp" | undefined;
}

export interface SessionOptions {
  /** The name given in EHLO. */
  readonly name: string;
  readonly localAddress?: string | undefined;
  readonly timeouts: ClientTimeouts;
  readonly clock: Clock;
}

/** No session could be opened. `reply` is the server's, if it gave one, or says what happened. */
export class RouteFailure extends Error {
  override readonly name = "RouteFailure";
  readonly reply: Reply;
  /** The server that replied, and the encryption; absent where no connection was made. */
  readonly via: string | undefined;

  constructor(
    reply: Reply,
    options?: { readonly cause?: unknown; readonly via?: string | undefined },
  ) {
    super(reply.text, options);
    this.reply = reply;
    this.via = options?.via;
  }
}
