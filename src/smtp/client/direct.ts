/** The client that needs no relay: mail goes to the hosts that each recipient's domain names in the DNS. */
import { Resolver } from "node:dns/promises";
import {
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
import { hostSearch } from "./host-search.ts";
import type { MailResolver } from "./mx.ts";
import { type ClientOptions, checkedClientOptions } from "./options.ts";
import { fetchPolicyFile } from "./policy/fetch-policy.ts";
import { mtaStsPolicies, noPolicies, type PolicyLookup } from "./policy/transport-policy.ts";
import { oneLine } from "./reply-text.ts";
import { deliverOver, type SmtpClient, type SmtpClientStats } from "./route-delivery.ts";
import { SessionKeeper } from "./session-pool.ts";

export interface DirectClientOptions extends ClientOptions {
  /** Name servers to ask, each an address with a port if it is not 53. @defaultValue the machine's */
  readonly nameServers?: readonly string[];
  /** Answers in place of name servers where hosts are looked up. @defaultValue none */
  readonly resolver?: MailResolver;
  /** Port of the hosts. @defaultValue 25 */
  readonly port?: number;
  /** Whether hosts on loopback and private networks are used. @defaultValue false */
  readonly allowPrivateAddresses?: boolean;
  /** What a domain demands of the connection; `false` asks nobody. @defaultValue its MTA-STS policy */
  readonly transportPolicy?: PolicyLookup | false;
  /** Certificate authority for hosts whose certificate a policy wants checked, in PEM. @defaultValue Node's */
  readonly ca?: string;
  /** Chance from 0 up to 1, for the order of hosts of equal preference. @defaultValue Math.random */
  readonly random?: () => number;
}

/**
 * Opens a client that delivers to the recipients' own hosts. Connects when there is mail.
 *
 * @throws {SmtpError} ERR_SMTP_OPTION_INVALID.
 */
export function directClient(options: DirectClientOptions = {}): SmtpClient {
  const { dkim, ca, clock = systemClock, transportPolicy: policy } = options;
  const { session, limits, rules } = checkedClientOptions(options, { maxConnections: 3 });
  const policies = () => {
    const resolver = asking(options.nameServers, { timeout: 5_000, tries: 2 });
    return mtaStsPolicies({
      resolveTxt: (name) => resolver.resolveTxt(name),
      fetchPolicyFile: (domain) => fetchPolicyFile(domain, { resolver, clock }),
      now: () => clock.now(),
    });
  };
  const search = hostSearch({
    mx: {
      ownName: session.name,
      resolver: options.resolver ?? asking(options.nameServers, { timeout: 10_000, tries: 3 }),
      allowPrivateAddresses: options.allowPrivateAddresses ?? false,
      random: options.random ?? Math.random,
    },
    policyOf: policy === false ? noPolicies : (policy ?? policies()),
    port: options.port ?? 25,
    // An opportunistic connection takes any certificate; the session knows (RFC 7435 §3).
    tlsOptions: ca === undefined ? {} : { ca },
    session,
    clock,
  });
  const allRules = [...rules, ...replyRules];
  const signer = dkim && startSigner(dkim);
  const keepers = new Map<string, SessionKeeper>();

  const keeperOf = (domain: string): SessionKeeper => {
    let keeper = keepers.get(domain);
    if (keeper) return keeper;
    for (const [name, one] of keepers) if (one.empty) keepers.delete(name);
    keeper = new SessionKeeper({ open: (signal) => search.open(domain, signal), ...limits, clock });
    keepers.set(domain, keeper);
    return keeper;
  };

  async function toDomain(
    domain: string,
    envelope: Envelope,
    message: Message,
    given: DeliverOptions,
  ) {
    const { avoid } = search;
    const route = {
      kind: "direct" as const,
      // Asked for at the last instant: one that nobody uses is forgotten.
      get keeper() {
        return keeperOf(domain);
      },
      rules: allRules,
      signer,
      avoid,
    };
    return deliverOver(route, envelope, message, given);
  }

  /** Domains one after the other: a worker gives mail for one domain at a time, but for a changed route. */
  async function deliver(envelope: Envelope, message: Message, given: DeliverOptions) {
    const outcomes: (RecipientOutcome | undefined)[] = envelope.recipients.map(() => undefined);
    for (const [domain, positions] of byDomain(envelope)) {
      const recipients = positions.map((at) => envelope.recipients[at] as string);
      try {
        const found = await toDomain(domain, { ...envelope, recipients }, message, given);
        for (const [at, position] of positions.entries()) outcomes[position] = found[at];
      } catch (error) {
        // What other domains have taken, or may have, stays known; nobody else was given anything.
        if (!outcomes.some(isAtStake)) throw error;
        return outcomes.map((outcome) => outcome ?? notSent(error));
      }
    }
    return outcomes as RecipientOutcome[];
  }

  const close = async () => {
    for (const keeper of keepers.values()) keeper.close();
    await signer?.close();
  };
  return { deliver, stats: () => sumOf(keepers.values()), close, [Symbol.asyncDispose]: close };
}

/** Whether a transaction came to its final dot. */
function isAtStake(outcome: RecipientOutcome | undefined): boolean {
  return outcome !== undefined && (outcome.kind === "delivered" || outcome.inDoubt === true);
}

/** Of whom it is certain that nothing was sent to. */
function notSent(error: unknown): RecipientOutcome {
  const text = oneLine(`Not sent this time: ${error instanceof Error ? error.message : error}`);
  return {
    kind: "deferred",
    scope: "message",
    reply: { code: 451, enhanced: "4.3.0", text, phase: "local" },
  };
}

/** A resolver that asks these servers, or the machine's own. */
function asking(
  nameServers: readonly string[] | undefined,
  patience: { readonly timeout: number; readonly tries: number },
): Resolver {
  const resolver = new Resolver(patience);
  try {
    if (nameServers !== undefined) resolver.setServers(nameServers);
  } catch {
    throw refusal("nameServers", "addresses such as 192.0.2.1 or 192.0.2.1:53", nameServers);
  }
  return resolver;
}

/** Positions of the recipients by domain; what is no address has the domain `""`, which is nowhere. */
function byDomain({ recipients }: Envelope): Map<string, number[]> {
  const domains = new Map<string, number[]>();
  for (const [position, recipient] of recipients.entries()) {
    const domain = addressParts(recipient)?.domain ?? "";
    const positions = domains.get(domain);
    if (positions) positions.push(position);
    else domains.set(domain, [position]);
  }
  return domains;
}

function sumOf(keepers: Iterable<SessionKeeper>): SmtpClientStats {
  const sum = { connectionsInUse: 0, connectionsIdle: 0, waiting: 0 };
  for (const keeper of keepers) {
    const { inUse, idle, waiting } = keeper.stats();
    sum.connectionsInUse += inUse;
    sum.connectionsIdle += idle;
    sum.waiting += waiting;
  }
  return sum;
}
