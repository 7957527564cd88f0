/** What a client session is opened with: its server (the target), its timeouts; and its failure. */
import type { ConnectionOptions } from "node:tls";
import type { Reply } from "../../mail/index.ts";
import type { Clock } from "../../system/index.ts";

/** Time limits of each phase, in milliseconds. */
export interface ClientTimeouts {
  /** For the TCP connection. @defaultValue 30,000 */
  readonly connectMs: number;
  /** For greeting, EHLO and STARTTLS together; for AUTH; for RSET. @defaultValue 300,000 */
  readonly greetingMs: number;
  /** For each reply to MAIL and RCPT. @defaultValue 300,000 */
  readonly commandMs: number;
  /** For the reply to DATA. @defaultValue 120,000 */
  readonly dataMs: number;
  /** For the server to take a block of the message. @defaultValue 180,000 */
  readonly blockMs: number;
  /**
   * For the reply to the final dot. A server that accepts the message after this limit has it
   * twice, because the outbox sends it again.
   *
   * @defaultValue 600,000
   */
  readonly finalDotMs: number;
}

/** The limits of RFC 5321 §4.5.3.2; the RFC has none for connecting. */
export const rfcTimeouts: ClientTimeouts = {
  connectMs: 30_000,
  greetingMs: 300_000,
  commandMs: 300_000,
  dataMs: 120_000,
  blockMs: 180_000,
  finalDotMs: 600_000,
};

/**
 * Time for each address of a host to connect, in milliseconds; the last address has the rest of the
 * timeout. Node's default of 250 ms gives up a distant host, and one that answers only the second
 * SYN, which is sent after a second (RFC 6298 §2.1).
 */
export const maxAddressMs = 3_000;

/**
 * How a connection is encrypted. `implicit`: from its first byte. `required`: STARTTLS with a valid
 * certificate, or nothing is sent. `opportunistic` (RFC 7435): STARTTLS where the server offers it,
 * with any certificate. `never`: plain text.
 */
export type TlsUse = "implicit" | "required" | "opportunistic" | "never";

export interface TlsOptions {
  readonly ca?: string | Buffer;
  readonly rejectUnauthorized?: boolean;
  readonly checkServerIdentity?: ConnectionOptions["checkServerIdentity"];
}

export interface SessionTarget {
  /** Name of the host; its certificate must have this name, and outcomes show it. */
  readonly host: string;
  /** IP address to connect to. @defaultValue the addresses of `host`, tried in turn */
  readonly address?: string | undefined;
  readonly port: number;
  readonly tls: TlsUse;
  /** Options for `tls.connect`, such as a private CA. */
  readonly tlsOptions?: TlsOptions | undefined;
  /** User and password for AUTH. @defaultValue the session does not log in */
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

/** No session could be opened. `reply` is the server's, or made by this client from the error. */
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
