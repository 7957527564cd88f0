/**
 * Opens a session with the first of a domain's hosts that accepts one; called by direct.ts.
 *
 * A bad host is left out for two minutes while the domain has others (RFC 5321 §5.1, RFC 1123
 * §5.3.1.1): one that gave no session (no connection, no TLS, or 4yz or 5yz as greeting or to EHLO)
 * or ended the session at MAIL. An enforced policy forbids other hosts than its own, and plain text
 * (RFC 8461 §5). Without such a policy plain text is better than no mail (RFC 7435).
 */
import type { Clock } from "../../system/index.ts";
import { findMailHosts, type MailHosts, type MxOptions } from "./mx.ts";
import { checkServerIdentity } from "./policy/server-identity.ts";
import type { PolicyLookup, TransportPolicy } from "./policy/transport-policy.ts";
import { type ClientSession, openSession } from "./session.ts";
import {
  RouteFailure,
  type SessionOptions,
  type SessionTarget,
  type TlsOptions,
} from "./target.ts";

interface HostSearchOptions {
  readonly mx: MxOptions;
  readonly policyOf: PolicyLookup;
  readonly port: number;
  readonly tlsOptions: TlsOptions;
  readonly session: SessionOptions;
  readonly clock: Clock;
}

export interface HostSearch {
  /**
   * Opens a session with a host of the domain.
   *
   * @throws {RouteFailure} When none of the hosts accepts a session. The signal's reason when it
   *   aborts first.
   */
  open(domain: string, signal: AbortSignal): Promise<ClientSession>;
  /** Makes the session's host a bad one; returns whether the domain has a host that is not bad. */
  avoid(session: ClientSession): boolean;
}

/** Time for which a bad host is left out, in milliseconds. */
const badHostMs = 120_000;
/** Bad hosts remembered, of all domains; the one that failed longest ago is forgotten first. */
const maxBadHosts = 10_000;

/** Returns a search that remembers bad hosts. */
export function hostSearch(options: HostSearchOptions): HostSearch {
  const { mx, policyOf, clock } = options;
  const badUntilMs = new Map<string, number>();
  /** For each session, all targets of the search that opened it. */
  const alternatives = new WeakMap<ClientSession, readonly SessionTarget[]>();

  function remember(target: SessionTarget): void {
    const key = keyOf(target);
    badUntilMs.delete(key);
    badUntilMs.set(key, clock.now() + badHostMs);
    const [oldest] = badUntilMs.keys();
    if (badUntilMs.size > maxBadHosts && oldest !== undefined) badUntilMs.delete(oldest);
  }

  const notBad = (target: SessionTarget) => (badUntilMs.get(keyOf(target)) ?? 0) <= clock.now();

  return {
    async open(domain, signal) {
      const lookups = Promise.all([findMailHosts(domain, mx), policyOf(domain)]);
      const [found, policy] = await unlessAborted(lookups, signal);
      const all = targetsOf(domain, found, policy, options);
      const good = all.filter(notBad);
      let failure: RouteFailure | undefined;
      for (const target of good.length > 0 ? good : all) {
        try {
          const session = await openEncrypted(target, options.session, signal);
          alternatives.set(session, all);
          return session;
        } catch (error) {
          if (!(error instanceof RouteFailure)) throw error;
          remember(target);
          failure = error;
        }
      }
      throw failure;
    },
    avoid(session) {
      remember(session.target);
      return alternatives.get(session)?.some(notBad) ?? false;
    },
  };
}

/**
 * Waits for the lookups; throws the signal's reason when it aborts first. The lookups then go on,
 * because other deliveries may wait for the same policy.
 */
async function unlessAborted<Found>(lookups: Promise<Found>, signal: AbortSignal): Promise<Found> {
  const isAborted = Promise.withResolvers<never>();
  const abort = () => isAborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([isAborted.promise, lookups]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

const keyOf = ({ host, address, port }: SessionTarget) => `${host} ${address} ${port}`;

/** Every address of the hosts that the policy allows, in the order in which to try them. */
function targetsOf(
  domain: string,
  found: MailHosts,
  policy: TransportPolicy,
  { port, tlsOptions }: HostSearchOptions,
): SessionTarget[] {
  if (found.kind !== "hosts") throw new RouteFailure(found.reply);
  const allowed = found.hosts.filter(({ host }) => !policy.enforced || policy.allows(host));
  if (allowed.length === 0) {
    const text = `No mail host of ${domain} is in its MTA-STS policy`;
    throw new RouteFailure({ code: 451, enhanced: "4.7.5", text, phase: "connect" });
  }
  const encryption = policy.enforced
    ? ({ tls: "required", tlsOptions: { ...tlsOptions, checkServerIdentity } } as const)
    : ({ tls: "opportunistic", tlsOptions } as const);
  return allowed.flatMap(({ host, addresses }) =>
    addresses.map((address) => ({ host, address, port, ...encryption })),
  );
}

/** Opens a session; connects again without TLS where TLS fails and no policy requires it. */
async function openEncrypted(
  target: SessionTarget,
  options: SessionOptions,
  signal: AbortSignal,
): Promise<ClientSession> {
  try {
    return await openSession(target, options, signal);
  } catch (error) {
    const isTlsFailure = error instanceof RouteFailure && error.reply.enhanced === "4.7.5";
    if (!isTlsFailure || target.tls !== "opportunistic") throw error;
    return openSession({ ...target, tls: "never" }, options, signal);
  }
}
