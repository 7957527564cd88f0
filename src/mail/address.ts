/**
 * Addresses as they stand in SMTP paths: reading a path, and taking an address apart.
 *
 * An address keeps its spelling until somebody compares it: local parts belong to the receiving
 * host, domains compare in lower-case A-label form. Two spellings of one mailbox have the same
 * {@link AddressParts}.
 *
 * @see RFC 5321 §4.1.2 (syntax), §2.4 (case), appendix C (source routes); RFC 6531 §3.3 (UTF-8).
 */
import { domainToASCII } from "node:url";
import type { Address } from "./contract.ts";

/** An address taken apart and normalised. */
export interface AddressParts {
  /** Unquoted, in Unicode normal form C, lower-case. */
  readonly localPart: string;
  /** Lower-case A-labels, or an address literal with its brackets. */
  readonly domain: string;
}

/** Octets an address may have: a path of 256 without its angle brackets (RFC 5321 §4.5.3.1.3). */
const maxAddressOctets = 254;

const atom = String.raw`[^\s"<>()[\]\\,;:@\x00-\x1f\x7f]+`;
const quoted = String.raw`"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"`;
const literal = String.raw`\[[0-9A-Za-z.:]+\]`;
const name = String.raw`[^\s"<>()[\]\\,;:@\x00-\x1f\x7f]+`;
const route = `(?:@${name}(?:,@${name})*:)?`;
const pathPattern = new RegExp(`^<${route}((?:${atom}|${quoted})@(?:${literal}|${name})|)>`);
const postmasterPattern = /^<(postmaster)>/i;

const label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const domainPattern = new RegExp(`^${label}(?:\\.${label})*$`);
const numericLabel = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/;
const literalPattern = /^\[(?:\d{1,3}(?:\.\d{1,3}){3}|ipv6:[0-9a-f:.]{2,45})\]$/;

/**
 * Reads a path at the start of `text`; returns the address in it (`""` for the null path) and what
 * stands behind it, or `undefined` when there is no valid path.
 *
 * A source route is accepted and dropped (RFC 5321 appendix C). `<postmaster>` is read without a
 * domain (§4.1.1.3). Dots anywhere in a local part are accepted, as widely used senders write them.
 */
export function parsePath(text: string): { address: Address; rest: string } | undefined {
  const found = pathPattern.exec(text) ?? postmasterPattern.exec(text);
  if (!found) return undefined;
  const address = found[1] ?? "";
  if (Buffer.byteLength(address) > maxAddressOctets) return undefined;
  const at = address.lastIndexOf("@");
  if (at >= 0 && normaliseDomain(address.slice(at + 1)) === undefined) return undefined;
  return { address, rest: text.slice(found[0].length) };
}

/** Takes an address apart and normalises both halves; `undefined` when it is not an address. */
export function addressParts(address: Address): AddressParts | undefined {
  const at = address.lastIndexOf("@");
  if (at < 0) return undefined;
  const localPart = normaliseLocalPart(address.slice(0, at));
  const domain = normaliseDomain(address.slice(at + 1));
  return localPart === undefined || domain === undefined ? undefined : { localPart, domain };
}

/**
 * Brings a domain into the form in which domains are compared: lower-case A-labels, or an address
 * literal. Returns `undefined` for what is no domain.
 */
export function normaliseDomain(domain: string): string | undefined {
  if (domain.startsWith("[")) {
    const lower = domain.toLowerCase();
    return literalPattern.test(lower) ? lower : undefined;
  }
  if (/[%/\\?#@:[\]\s]/.test(domain)) return undefined; // These mean something to a URL parser.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of code points.
  const ascii = /^[\x00-\x7f]*$/.test(domain) ? domain.toLowerCase() : domainToASCII(domain);
  if (ascii.length > 253 || !domainPattern.test(ascii) || numericLabel.test(ascii)) {
    return undefined;
  }
  return ascii;
}

/** Unquotes, then normalises; every spelling of one local part comes out the same. */
function normaliseLocalPart(localPart: string): string | undefined {
  const plain = /^".*"$/s.test(localPart)
    ? localPart.slice(1, -1).replace(/\\(.)/gs, "$1")
    : localPart;
  if (plain === "" || !plain.isWellFormed()) return undefined;
  return plain.normalize("NFC").toLowerCase().normalize("NFC");
}
