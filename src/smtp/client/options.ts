/** Options that both clients have: meaning, defaults and checks. */
import { hostname } from "node:os";
import { normaliseDomain } from "../../mail/index.ts";
import { type Clock, systemClock } from "../../system/index.ts";
import { refusal, wholeNumber } from "../errors.ts";
import type { ReplyRule } from "./classify.ts";
import type { DkimKey } from "./dkim.ts";
import { type ClientTimeouts, rfcTimeouts, type SessionOptions } from "./target.ts";

export interface ClientOptions {
  /** The name in EHLO. @defaultValue the machine's name */
  readonly name?: string | undefined;
  /** Address to connect from. @defaultValue the system chooses */
  readonly localAddress?: string | undefined;
  /**
   * Open connections to the relay, or to the hosts of one domain.
   *
   * @defaultValue 10 to a relay, 3 to a domain
   */
  readonly maxConnections?: number | undefined;
  /** Messages after which a connection is replaced. @defaultValue 100 */
  readonly maxMessagesPerConnection?: number | undefined;
  /** Time after which an idle connection is closed, in milliseconds. @defaultValue 15,000 */
  readonly idleTimeoutMs?: number | undefined;
  /** @defaultValue the timeouts of RFC 5321 §4.5.3.2 */
  readonly timeouts?: Partial<ClientTimeouts> | undefined;
  /** Rules that are tried before the built-in ones. @defaultValue none */
  readonly rules?: readonly ReplyRule[] | undefined;
  /** Key with which every message is signed. @defaultValue messages are not signed */
  readonly dkim?: DkimKey | undefined;
  /** @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
}

interface CheckedClientOptions {
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
  return { session: { name, timeouts, clock, localAddress }, limits, rules };
}
