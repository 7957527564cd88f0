/**
 * Opens a session with the first of a domain's hosts that takes one.
 *
 * A host that could not be reached is left out for two minutes (RFC 5321 §5.1, RFC 1123 §5.3.1.1). A
 * connection that does not fit an enforced policy is never used, and never falls back to plain text
 * (RFC 8461 §5); without a policy, plain text is better than no mail (RFC 7435).
 */
import type { Clock } from "../../system/index.ts";
import { findMailHosts, type MailHosts, type MxOptions } from "./mx.ts";
import { openSession, type Session } from "./session.ts";
import { RouteFailure, type SessionOptions, type SessionTarget } from "./target.ts";
import type { PolicyLookup, TransportPolicy } from "./transport-policy.ts";

export interface HostSearchOptions {
  readonly mx: MxOptions;
  readonly policyOf: PolicyLookup;
  readonly port: number;
  readonly tlsOptions: NonNullable<SessionTarget["tlsOptions"]>;
  readonly session: SessionOptions;
  readonly clock: Clock;
}

export type HostSearch = (domain: string, signal: AbortSignal) => Promise<Session>;

/** How long an unreachable host is left out, in milliseconds. */
const badHostMs = 120_000;

/** Returns a search that remembers which hosts were bad a moment ago. */
export function hostSearch(options: HostSearchOptions): HostSearch {
  const { mx, policyOf, clock } = options;
  const badUntilMs = new Map<string, number>();

  async function tryTarget(target: SessionTarget, signal: AbortSignal): Promise<Session> {
    const place = `${target.host} ${target.address}`;
    if ((badUntilMs.get(place) ?? 0) > clock.now()) {
      throw unreachable(`${target.host} could not be reached a moment ago`);
    }
    badUntilMs.delete(place);
    try {
      return await openEncrypted(target, options.session, signal);
    } catch (error) {
      if (error instanceof RouteFailure) badUntilMs.set(place, clock.now() + badHostMs);
      throw error;
    }
  }

  return async (domain, signal) => {
    const [found, policy] = await Promise.all([findMailHosts(domain, mx), policyOf(domain)]);
    let failure = unreachable(`No host of ${domain} could be reached`);
    for (const target of targetsOf(domain, found, policy, options)) {
      try {
        return await tryTarget(target, signal);
      } catch (error) {
        if (!(error instanceof RouteFailure)) throw error;
        failure = error;
      }
    }
    throw failure;
  };
}

/** Where to try, in order. */
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
  const tls = policy.enforced ? "required" : "opportunistic";
  return allowed.flatMap(({ host, addresses }) =>
    addresses.map((address) => ({ host, address, port, tls, tlsOptions }) as const),
  );
}

/** Falls back to plain text where encryption was only wished for and broke. */
async function openEncrypted(
  target: SessionTarget,
  options: SessionOptions,
  signal: AbortSignal,
): Promise<Session> {
  try {
    return await openSession(target, options, signal);
  } catch (error) {
    const broken = error instanceof RouteFailure && error.reply.enhanced === "4.7.5";
    if (!broken || target.tls !== "opportunistic") throw error;
    return openSession({ ...target, tls: "never" }, options, signal);
  }
}

function unreachable(text: string): RouteFailure {
  return new RouteFailure({ code: 451, enhanced: "4.4.1", text, phase: "connect" });
}
