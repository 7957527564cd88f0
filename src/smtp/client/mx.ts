/**
 * Finds the hosts that take mail for a domain; called by host-search.ts.
 *
 * A domain that takes no mail or does not exist is a final result; a lookup that fails is worth
 * another attempt. Hosts that resolve to this machine or to a private network are left out: another
 * domain's DNS must not point us at ourselves. Where the MX records name this host, it is left out
 * with all hosts that are not preferred to it: such a host would pass the mail back to this one.
 *
 * @see RFC 5321 §5.1 (order, implicit MX), RFC 7505 (null MX), RFC 3463 (codes)
 */
import type { MxRecord } from "node:dns";
import { BlockList, isIP } from "node:net";
import type { Reply } from "../../mail/index.ts";

/** The part of `node:dns/promises` used here. */
export interface MailResolver {
  resolveMx(domain: string): Promise<MxRecord[]>;
  resolve4(host: string): Promise<string[]>;
  resolve6(host: string): Promise<string[]>;
}

interface MailHost {
  readonly host: string;
  /** IPv4 first: more receivers judge senders by their IPv4 address. */
  readonly addresses: readonly string[];
}

export type MailHosts =
  | { readonly kind: "hosts"; readonly hosts: readonly MailHost[] }
  /** The domain has no host for mail: final. */
  | { readonly kind: "none"; readonly reply: Reply }
  /** A lookup failed; another attempt may find hosts. */
  | { readonly kind: "unknown"; readonly reply: Reply };

export interface MxOptions {
  readonly resolver: MailResolver;
  /** Whether hosts on loopback and private networks are used, for tests and closed networks. */
  readonly allowPrivateAddresses: boolean;
  /** The name of this host: mail that leads back to it would loop. */
  readonly ownName: string;
  /** Random number from 0 up to 1, for the order of hosts of equal preference. */
  readonly random: () => number;
}

const answer = (code: number, enhanced: string, text: string): Reply => ({
  code,
  enhanced,
  text,
  phase: "connect",
});

/** Finds the hosts in the order in which to try them. */
export async function findMailHosts(domain: string, options: MxOptions): Promise<MailHosts> {
  const literal = /^\[(?:IPv6:)?([^\]]+)\]$/i.exec(domain)?.[1];
  if (literal !== undefined)
    return usable(domain, [{ host: domain, addresses: [literal] }], options);
  const asked = await mxOf(domain, options.resolver);
  if (asked.kind !== "records") return asked;
  const { records } = asked;
  if (records.length === 1 && records[0]?.exchange === "") {
    return { kind: "none", reply: answer(556, "5.1.10", `${domain} takes no mail (null MX)`) };
  }
  const better = beforeOwn(records, options.ownName);
  if (better.length === 0) {
    const text = `The mail host of ${domain} is this one, and it has no mailboxes of the domain`;
    return { kind: "none", reply: answer(554, "5.4.6", text) };
  }
  const names = inOrder(better, options.random);
  const lookups = await Promise.all(
    names.map(async (host) => ({ host, ...(await addressesOf(host, options.resolver)) })),
  );
  const found = usable(domain, lookups, options);
  if (found.kind !== "hosts" && lookups.some(({ isUnknown }) => isUnknown)) {
    return {
      kind: "unknown",
      reply: answer(451, "4.4.3", `Cannot resolve the hosts of ${domain}`),
    };
  }
  return found;
}

function usable(domain: string, hosts: readonly MailHost[], options: MxOptions): MailHosts {
  const allowed = hosts
    .map(({ host, addresses }) => ({
      host,
      addresses: addresses.filter(
        (address) => options.allowPrivateAddresses || !isPrivate(address),
      ),
    }))
    .filter(({ addresses }) => addresses.length > 0);
  if (allowed.length > 0) return { kind: "hosts", hosts: allowed };
  const text = hosts.some(({ addresses }) => addresses.length > 0)
    ? `The mail hosts of ${domain} have only private addresses`
    : `${domain} has no mail host`;
  return { kind: "none", reply: answer(550, "5.1.2", text) };
}

type Records =
  | { readonly kind: "records"; readonly records: readonly MxRecord[] }
  | Exclude<MailHosts, { kind: "hosts" }>;

/** The MX records, or the domain itself when it has none (RFC 5321 §5.1). */
async function mxOf(domain: string, resolver: MailResolver): Promise<Records> {
  const implicit: Records = { kind: "records", records: [{ exchange: domain, priority: 0 }] };
  const asked = await ask(() => resolver.resolveMx(domain));
  switch (asked.kind) {
    case "found":
      return asked.records.length > 0 ? { kind: "records", records: asked.records } : implicit;
    case "no-data":
      return implicit;
    case "no-domain":
      return { kind: "none", reply: answer(550, "5.1.2", `There is no domain ${domain}`) };
    case "failed":
      return {
        kind: "unknown",
        reply: answer(451, "4.4.3", `Cannot look up ${domain}: ${asked.code}`),
      };
  }
}

interface AddressLookup {
  readonly addresses: readonly string[];
  /** There is no address, because a lookup failed. */
  readonly isUnknown: boolean;
}

async function addressesOf(host: string, resolver: MailResolver): Promise<AddressLookup> {
  if (isIP(host)) return { addresses: [host], isUnknown: false };
  const [four, six] = await Promise.all([
    ask(() => resolver.resolve4(host)),
    ask(() => resolver.resolve6(host)),
  ]);
  const addresses = [four, six].flatMap((asked) => (asked.kind === "found" ? asked.records : []));
  const hasFailed = [four, six].some(({ kind }) => kind === "failed");
  return { addresses, isUnknown: addresses.length === 0 && hasFailed };
}

type Asked<T> =
  | { readonly kind: "found"; readonly records: readonly T[] }
  | { readonly kind: "no-data" | "no-domain" }
  | { readonly kind: "failed"; readonly code: string };

/** Asks again where the name does not exist: one wrong answer of the DNS must not bounce mail. */
async function ask<T>(query: () => Promise<readonly T[]>): Promise<Asked<T>> {
  const first = await askOnce(query);
  return first.kind === "no-domain" ? askOnce(query) : first;
}

async function askOnce<T>(query: () => Promise<readonly T[]>): Promise<Asked<T>> {
  try {
    return { kind: "found", records: await query() };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
    if (code === "ENODATA") return { kind: "no-data" };
    if (code === "ENOTFOUND") return { kind: "no-domain" };
    return { kind: "failed", code };
  }
}

/**
 * The records preferred to the one of this host, or all where none names it (RFC 5321 §5.1).
 */
function beforeOwn(records: readonly MxRecord[], ownName: string): readonly MxRecord[] {
  const own = records.filter(({ exchange }) => exchange.toLowerCase() === ownName.toLowerCase());
  const limit = Math.min(...own.map(({ priority }) => priority));
  return records.filter(({ priority }) => priority < limit);
}

/** Sorts by preference; equal ones in random order, which shares the load (RFC 5321 §5.1). */
function inOrder(records: readonly MxRecord[], random: () => number): string[] {
  return records
    .map(({ exchange, priority }) => ({ exchange, priority, chance: random() }))
    .filter(({ exchange }) => exchange !== "")
    .sort((one, other) => one.priority - other.priority || one.chance - other.chance)
    .map(({ exchange }) => exchange);
}

const privateNetworks = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["224.0.0.0", 3],
] as const) {
  privateNetworks.addSubnet(network, prefix, "ipv4");
}
for (const [network, prefix] of [
  ["::", 127],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const) {
  privateNetworks.addSubnet(network, prefix, "ipv6");
}

/** Whether an address is of this machine or of a private network (RFC 6890). */
function isPrivate(address: string): boolean {
  return privateNetworks.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}
