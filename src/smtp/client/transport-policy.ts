/**
 * What a domain demands of the connection to its mail hosts: MTA-STS, by mailauth.
 *
 * A policy that was seen holds until its age is over, even when it cannot be fetched again: otherwise
 * whoever can suppress the lookup could take the encryption away (RFC 8461 §5.1, §10).
 */
import type { Resolver } from "node:dns/promises";

export interface TransportPolicy {
  /** Whether a connection that does not fit may not be used. */
  readonly enforced: boolean;
  /** Tells whether a host may take the domain's mail. */
  allows(host: string): boolean;
}

export type PolicyLookup = (domain: string) => Promise<TransportPolicy>;

/** Nobody demands anything. */
export const noPolicies: PolicyLookup = async () => ({ enforced: false, allows: () => true });

type Policy = Awaited<ReturnType<typeof import("mailauth/lib/mta-sts.js")["getPolicy"]>>["policy"];

/** How long a domain without a policy is not asked again, in milliseconds. */
const askAgainMs = 3_600_000;
/** Domains remembered; the one asked longest ago goes first. */
const maxRemembered = 10_000;

/** Looks policies up, and remembers them for as long as they hold. */
export function mtaStsPolicies(resolver: Resolver, now: () => number): PolicyLookup {
  const known = new Map<string, { policy: Policy; askedAtMs: number }>();
  return async (domain) => {
    const { getPolicy, validateMx } = await import("mailauth/lib/mta-sts.js");
    const remembered = known.get(domain);
    let policy = remembered?.policy;
    if (remembered === undefined || now() - remembered.askedAtMs > askAgainMs) {
      const options = { resolver: resolver.resolve.bind(resolver) as never };
      policy = (await getPolicy(domain, policy, options)).policy;
      known.delete(domain);
      known.set(domain, { policy, askedAtMs: now() });
      if (known.size > maxRemembered) known.delete(known.keys().next().value as string);
    }
    return {
      enforced: policy?.mode === "enforce",
      allows: (host) => policy === undefined || validateMx(host, policy).valid,
    };
  };
}
