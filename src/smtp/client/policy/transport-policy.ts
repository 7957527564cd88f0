/**
 * The transport policy of a domain: which hosts may take its mail, and whether encryption is
 * required. Called by host-search.ts.
 *
 * A policy stays valid for its `max_age`, even when it cannot be fetched again or its record is
 * gone. Otherwise an attacker who suppresses the lookup could remove the encryption (RFC 8461 §5.1,
 * §10).
 *
 * @see RFC 8461 §3.3 (fetch and refresh), §5 (use)
 */
import { matchesMx, parsePolicy, policyIdIn, type StsPolicy } from "./mta-sts.ts";

export interface TransportPolicy {
  /** Whether mail goes only to allowed hosts, over TLS with a valid certificate. */
  readonly enforced: boolean;
  /** Whether a host may take the domain's mail. */
  allows(host: string): boolean;
}

/** Finds a domain's policy; called for each new session. A rejection rejects the delivery. */
export type PolicyLookup = (domain: string) => Promise<TransportPolicy>;

const noPolicy: TransportPolicy = { enforced: false, allows: () => true };

/** A lookup in which no domain has a policy. */
export const noPolicies: PolicyLookup = async () => noPolicy;

interface PolicySources {
  resolveTxt(name: string): Promise<readonly (readonly string[])[]>;
  /** Rejects where there is no valid answer. */
  fetchPolicyFile(domain: string): Promise<string>;
  /** The present instant on a monotonic clock, in milliseconds. */
  now(): number;
}

interface KnownPolicy {
  readonly id: string;
  readonly policy: StsPolicy;
  readonly fetchedAtMs: number;
}

/** One check of a domain for a policy, shared by all deliveries until {@link recheckMs} is over. */
interface Check {
  readonly atMs: number;
  readonly found: Promise<KnownPolicy | undefined>;
}

/** The least time between two checks of a domain, in milliseconds, even past its `max_age`. */
const recheckMs = 3_600_000;
/**
 * A policy whose id stays the same is fetched again after this time, in milliseconds, so that the
 * policy does not expire.
 */
const refreshMs = 86_400_000;
/**
 * Checks remembered, and likewise policies; the domain checked longest ago is forgotten first.
 */
const maxRemembered = 10_000;

/** Looks up MTA-STS policies, and remembers each as long as it is valid. */
export function mtaStsPolicies(sources: PolicySources): PolicyLookup {
  const checks = new Map<string, Check>();
  /** Not in `checks`, where the many domains without a policy would push policies out. */
  const policies = new Map<string, KnownPolicy>();

  async function check(domain: string): Promise<KnownPolicy | undefined> {
    const found = await currentPolicy(domain, policies.get(domain), sources);
    if (found) remember(policies, domain, found);
    else policies.delete(domain);
    return found;
  }

  return async (domain) => {
    if (domain === "" || domain.startsWith("[")) return noPolicy; // An address literal has no DNS.
    const nowMs = sources.now();
    let last = checks.get(domain);
    if (last === undefined || nowMs - last.atMs > recheckMs) {
      last = { atMs: nowMs, found: check(domain) };
      remember(checks, domain, last);
    }
    const policy = (await last.found)?.policy;
    return policy === undefined || policy.mode === "none"
      ? noPolicy
      : { enforced: policy.mode === "enforce", allows: (host) => matchesMx(host, policy.mx) };
  };
}

function remember<Value>(map: Map<string, Value>, domain: string, value: Value): void {
  map.delete(domain);
  map.set(domain, value);
  const [oldest] = map.keys();
  if (map.size > maxRemembered && oldest !== undefined) map.delete(oldest);
}

/**
 * The policy that holds now: the known one while it is valid and fresh, a new one where the record
 * has another id.
 */
async function currentPolicy(
  domain: string,
  known: KnownPolicy | undefined,
  { resolveTxt, fetchPolicyFile, now }: PolicySources,
): Promise<KnownPolicy | undefined> {
  const nowMs = now();
  const valid = known && nowMs - known.fetchedAtMs < known.policy.maxAgeMs ? known : undefined;
  try {
    const id = policyIdIn(await resolveTxt(`_mta-sts.${domain}`));
    if (id === undefined) return valid;
    if (valid?.id === id && nowMs - valid.fetchedAtMs < refreshMs) return valid;
    const policy = parsePolicy(await fetchPolicyFile(domain));
    return policy ? { id, policy, fetchedAtMs: now() } : valid;
  } catch {
    return valid;
  }
}
