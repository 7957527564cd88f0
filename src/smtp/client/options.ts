/** What the two clients have in common: options, defaults, and the check at the door. */
import { hostname } from "node:os";
import { normaliseDomain } from "../../mail/index.ts";
import { type Clock, systemClock } from "../../system/index.ts";
import { refusal, wholeNumber } from "../errors.ts";
import type { ReplyRule } from "./classify.ts";
import type { DkimKey } from "./dkim.ts";
import { type ClientTimeouts, rfcTimeouts, type SessionOptions } from "./target.ts";

export interface ClientOptions {
  /** The name given in EHLO. @defaultValue the machine's name */
  readonly name?: string;
  /** Address to connect from. @defaultValue the system chooses */
  readonly localAddress?: string;
  /** Most connections at a time; to one domain, where mail goes to its own hosts. @defaultValue 10 to a relay, 3 to a domain */
  readonly maxConnections?: number;
  /** Messages after which a connection is replaced. @defaultValue 100 */
  readonly maxMessagesPerConnection?: number;
  /** How long an idle connection is kept, in milliseconds. @defaultValue 15,000 */
  readonly idleTimeoutMs?: number;
  /** @defaultValue those of RFC 5321 §4.5.3.2 */
  readonly timeouts?: Partial<ClientTimeouts>;
  /** Looked at before the built-in rules. @defaultValue none */
  readonly rules?: readonly ReplyRule[];
  /** Signs every message. @defaultValue none */
  readonly dkim?: DkimKey;
  /** @defaultValue the machine's clock */
  readonly clock?: Clock;
}

export interface CheckedClientOptions {
  readonly session: SessionOptions;
  readonly limits: {
    readonly maxConnections: number;
    readonly maxMessagesPerConnection: number;
    readonly idleTimeoutMs: number;
  };
  readonly rules: readonly ReplyRule[];
}

/** Checks the options and fills in the defaults; throws `ERR_SMTP_OPTION_INVALID`. */
export function checkedClientOptions(
  options: ClientOptions,
  defaults: { readonly maxConnections: number },
): CheckedClientOptions {
  const { clock = systemClock, localAddress, rules = [] } = options;
  const limits = {
    maxConnections: options.maxConnections ?? defaults.maxConnections,
    maxMessagesPerConnection: options.maxMessagesPerConnection ?? 100,
    idleTimeoutMs: options.idleTimeoutMs ?? 15_000,
  };
  const timeouts = { ...rfcTimeouts, ...options.timeouts };
  for (const [name, value] of Object.entries({ ...limits, ...timeouts })) {
    wholeNumber(name, value);
  }
  const name = options.name ?? normaliseDomain(hostname()) ?? "localhost";
  if (normaliseDomain(name) === undefined) throw refusal("name", "a domain name", name);
  const session = { name, timeouts, clock, ...(localAddress !== undefined && { localAddress }) };
  return { session, limits, rules };
}
