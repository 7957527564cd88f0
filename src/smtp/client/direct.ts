/**
 * The client without a relay: mail goes to the hosts that each recipient's domain names in the DNS.
 * Each domain has a session pool; host-search.ts opens its sessions, route-delivery.ts sends.
 */
import { Resolver } from "node:dns/promises";
import {
  type Address,
  addressParts,
  type DeliverOptions,
  type Envelope,
  type Message,
  type RecipientOutcome,
} from "../../mail/index.ts";
import { systemClock } from "../../system/index.ts";
import { refusal } from "../errors.ts";
import { replyRules } from "./classify.ts";
import { startSigner } from "./dkim.ts";
import { type HostSearch, hostSearch } from "./host-search.ts";
import type { MailResolver } from "./mx.ts";
import { type ClientOptions, checkedClientOptions } from "./options.ts";
import { fetchPolicyFile } from "./policy/fetch-policy.ts";
import { mtaStsPolicies, noPolicies, type PolicyLookup } from "./policy/transport-policy.ts";
import { oneLine } from "./reply-text.ts";
import {
  completeOutcomes,
  deliverOver,
  type Route,
  type SmtpClient,
  type SmtpClientStats,
} from "./route-delivery.ts";
import { SessionPool, type SessionPoolOptions } from "./session-pool.ts";
import type { SessionOptions } from "./target.ts";

export interface DirectClientOptions extends ClientOptions {
  /**
   * Addresses of the name servers for all lookups, each with a port if it is not 53.
   *
   * @defaultValue the system's name servers
   */
  readonly nameServers?: readonly string[] | undefined;
  /**
   * Looks up hosts (MX, A, AAAA) in place of the name servers. MTA-STS lookups still ask the name
   * servers.
   *
   * @defaultValue hosts are looked up at the name servers too
   */
  readonly resolver?: MailResolver | undefined;
  /** Port of the hosts. @defaultValue 25 */
  readonly port?: number | undefined;
  /** Whether hosts on loopback and private networks are used. @defaultValue false */
  readonly allowPrivateAddresses?: boolean | undefined;
  /**
   * Looks up a domain's transport policy; with `false` no domain has one.
   *
   * @defaultValue the lookup of MTA-STS policies (RFC 8461)
   */
  readonly transportPolicy?: PolicyLookup | false | undefined;
  /**
   * Certificate authority for hosts whose certificate a policy requires, in PEM.
   *
   * @defaultValue the authorities that Node trusts
   */
  readonly ca?: string | undefined;
  /**
   * Returns a random number from 0 up to 1, for the order of hosts of equal preference.
   *
   * @defaultValue Math.random
   */
  readonly random?: (() => number) | undefined;
}

/**
 * Opens a client that delivers to the hosts of the recipients' domains. The first message makes the
 * first connection.
 *
 * @throws {SmtpError} ERR_SMTP_OPTION_INVALID.
 */
export function directClient(options: DirectClientOptions = {}): SmtpClient {
  const { dkim, clock = systemClock } = options;
  const { session, limits, rules } = checkedClientOptions(options, { maxConnections: 3 });
  const search = searchOf(options, session);
  const allRules = [...rules, ...replyRules];
  const signer = dkim && startSigner(dkim);
  const pools = new DomainPools((domain) => ({
    open: (signal) => search.open(domain, signal),
    ...limits,
    clock,
  }));

  function routeTo(domain: string): Route {
    return {
      kind: "direct",
      // Looked up at each use: an empty pool is forgotten when another domain gets one.
      get pool() {
        return pools.get(domain);
      },
      rules: allRules,
      signer,
      avoid: search.avoid,
    };
  }

  /**
   * Delivers to one domain after the other. The outbox gives a client the recipients of one domain
   * at a time, except after a change of the route.
   */
  async function deliver(envelope: Envelope, message: Message, given: DeliverOptions) {
    const outcomes: (RecipientOutcome | undefined)[] = envelope.recipients.map(() => undefined);
    for (const [domain, ofDomain] of byDomain(envelope)) {
      const part = { ...envelope, recipients: ofDomain.map(({ recipient }) => recipient) };
      try {
        const found = await deliverOver(routeTo(domain), part, message, given);
        for (const [at, { position }] of ofDomain.entries()) outcomes[position] = found[at];
      } catch (error) {
        // Once a server may have the mail, the outcomes so far stay and the rest is deferred.
        if (!outcomes.some(isAtStake)) throw error;
        return outcomes.map((outcome) => outcome ?? notSent(error));
      }
    }
    return completeOutcomes(outcomes);
  }

  const close = async () => {
    pools.close();
    await signer?.close();
  };
  return { deliver, stats: () => pools.stats(), close, [Symbol.asyncDispose]: close };
}

function searchOf(options: DirectClientOptions, session: SessionOptions): HostSearch {
  const { ca, nameServers, clock = systemClock, transportPolicy: policy } = options;
  const policies = () => {
    const resolver = resolverFor(nameServers, { timeout: 5_000, tries: 2 });
    return mtaStsPolicies({
      resolveTxt: (name) => resolver.resolveTxt(name),
      fetchPolicyFile: (domain) => fetchPolicyFile(domain, { resolver, clock }),
      now: () => clock.now(),
    });
  };
  return hostSearch({
    mx: {
      ownName: session.name,
      resolver: options.resolver ?? resolverFor(nameServers, { timeout: 10_000, tries: 3 }),
      allowPrivateAddresses: options.allowPrivateAddresses ?? false,
      random: options.random ?? Math.random,
    },
    policyOf: policy === false ? noPolicies : (policy ?? policies()),
    port: options.port ?? 25,
    // The session adds that an opportunistic connection accepts any certificate (RFC 7435 §3).
    tlsOptions: ca === undefined ? {} : { ca },
    session,
    clock,
  });
}

/** One session pool for each domain. Empty pools are forgotten when another domain gets one. */
class DomainPools {
  readonly #pools = new Map<string, SessionPool>();
  readonly #optionsFor: (domain: string) => SessionPoolOptions;

  constructor(optionsFor: (domain: string) => SessionPoolOptions) {
    this.#optionsFor = optionsFor;
  }

  get(domain: string): SessionPool {
    const known = this.#pools.get(domain);
    if (known) return known;
    for (const [name, pool] of this.#pools) if (pool.isEmpty) this.#pools.delete(name);
    const pool = new SessionPool(this.#optionsFor(domain));
    this.#pools.set(domain, pool);
    return pool;
  }

  stats(): SmtpClientStats {
    const sum = { connectionsInUse: 0, connectionsIdle: 0, waiting: 0 };
    for (const pool of this.#pools.values()) {
      const { inUse, idle, waiting } = pool.stats();
      sum.connectionsInUse += inUse;
      sum.connectionsIdle += idle;
      sum.waiting += waiting;
    }
    return sum;
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
  }
}

/** Whether the recipient's server may have the mail: it accepted the final dot, or may have. */
function isAtStake(outcome: RecipientOutcome | undefined): boolean {
  return outcome !== undefined && (outcome.kind === "delivered" || outcome.inDoubt === true);
}

/** The outcome of a recipient to which nothing was sent. */
function notSent(error: unknown): RecipientOutcome {
  const text = oneLine(`Not sent this time: ${error instanceof Error ? error.message : error}`);
  return {
    kind: "deferred",
    scope: "message",
    reply: { code: 451, enhanced: "4.3.0", text, phase: "local" },
  };
}

/** Returns a resolver that asks `nameServers`, or else the system's name servers. */
function resolverFor(
  nameServers: readonly string[] | undefined,
  waits: { readonly timeout: number; readonly tries: number },
): Resolver {
  const resolver = new Resolver(waits);
  try {
    if (nameServers !== undefined) resolver.setServers(nameServers);
  } catch {
    throw refusal("nameServers", "addresses such as 192.0.2.1 or 192.0.2.1:53", nameServers);
  }
  return resolver;
}

interface NamedRecipient {
  readonly recipient: Address;
  /** Index of the recipient in the envelope. */
  readonly position: number;
}

/** Groups the recipients by domain; a recipient that is no address has the domain `""`. */
function byDomain({ recipients }: Envelope): Map<string, NamedRecipient[]> {
  const named = recipients.map((recipient, position) => ({ recipient, position }));
  return Map.groupBy(named, ({ recipient }) => addressParts(recipient)?.domain ?? "");
}
