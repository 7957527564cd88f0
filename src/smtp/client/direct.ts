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
import { replyRules } from "./classify.ts";
import { deliverOver, type SmtpClient, type SmtpClientStats } from "./client.ts";
import { startSigner } from "./dkim.ts";
import { hostSearch } from "./host-search.ts";
import { SessionKeeper } from "./keeper.ts";
import type { MailResolver } from "./mx.ts";
import { type ClientOptions, checkedClientOptions } from "./options.ts";
import { mtaStsPolicies, noPolicies, type PolicyLookup } from "./transport-policy.ts";

export interface DirectClientOptions extends ClientOptions {
  /** @defaultValue the machine's resolvers */
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
  const search = hostSearch({
    mx: {
      resolver: options.resolver ?? new Resolver({ timeout: 10_000, tries: 3 }),
      allowPrivateAddresses: options.allowPrivateAddresses ?? false,
      random: options.random ?? Math.random,
    },
    policyOf: policy === false ? noPolicies : (policy ?? mtaStsPolicies(() => clock.now())),
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
    keeper = new SessionKeeper({ open: (signal) => search(domain, signal), ...limits, clock });
    keepers.set(domain, keeper);
    return keeper;
  };

  /** Domains one after the other: a worker gives mail for one domain at a time anyway. */
  async function deliver(envelope: Envelope, message: Message, given: DeliverOptions) {
    const outcomes: RecipientOutcome[] = [];
    for (const [domain, positions] of byDomain(envelope)) {
      const recipients = positions.map((at) => envelope.recipients[at] as string);
      const route = { kind: "direct", keeper: keeperOf(domain), rules: allRules, signer } as const;
      const found = await deliverOver(route, { ...envelope, recipients }, message, given);
      for (const [at, position] of positions.entries()) {
        outcomes[position] = found[at] as RecipientOutcome;
      }
    }
    return outcomes;
  }

  const close = async () => {
    for (const keeper of keepers.values()) keeper.close();
    await signer?.close();
  };
  return { deliver, stats: () => sumOf(keepers.values()), close, [Symbol.asyncDispose]: close };
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
