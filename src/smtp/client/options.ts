/** Options that the relay client and the direct client share: meaning, defaults and checks. */
import { hostname } from "node:os";
import { normaliseDomain } from "../../mail/index.ts";
import { type Clock, systemClock } from "../../system/index.ts";
import { refusal, wholeNumber } from "../errors.ts";
import type { ReplyRule } from "./classify.ts";
import type { DkimKey } from "./dkim.ts";
import { type ClientTimeouts, rfcTimeouts, type SessionOptions } from "./target.ts";

export interface ClientOptions {
  /** The name in EHLO. @defaultValue the machine's, or `localhost` if that is no domain name */
  readonly name?: string | undefined;
  /** Local IP address to connect from. @defaultValue the operating system chooses it */
  readonly localAddress?: string | undefined;
  /**
   * Open connections to the relay, or to all hosts of one domain; further messages wait.
   *
   * @defaultValue 10 to a relay, 3 to a domain
   */
  readonly maxConnections?: number | undefined;
  /** Messages after which a connection is closed; the next opens a new one. @defaultValue 100 */
  readonly maxMessagesPerConnection?: number | undefined;
  /**
   * Time after the last message on any connection of the route until all its idle connections are
   * closed, in milliseconds.
   *
   * @defaultValue 15,000
   */
  readonly idleTimeoutMs?: number | undefined;
  /** Time limits of each phase. @defaultValue for each omitted one that of {@link rfcTimeouts} */
  readonly timeouts?: Partial<ClientTimeouts> | undefined;
  /** Rules for replies, tried before the built-in ones. @defaultValue only the built-in rules */
  readonly rules?: readonly ReplyRule[] | undefined;
  /** Key with which every message is signed. @defaultValue messages are not signed */
  readonly dkim?: DkimKey | undefined;
  /** Clock of the timeouts. @defaultValue the machine's clock */
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
