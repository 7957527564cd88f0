/**
 * Addresses of SMTP paths: reads a path, and splits an address into its normalised parts.
 *
 * The spelling of an address stays until it is compared: local parts belong to the receiving host,
 * domains are compared as lower-case A-labels. Two spellings of one mailbox have the same
 * {@link AddressParts}.
 *
 * @see RFC 5321 §4.1.2 (syntax), §2.4 (case), appendix C (source routes); RFC 6531 §3.3 (UTF-8).
 */
import { domainToASCII } from "node:url";
import type { Address } from "./contract.ts";

/** The normalised parts of an address. */
export interface AddressParts {
  /** Unquoted, in Unicode normal form C, lower-case. */
  readonly localPart: string;
  /** Lower-case A-labels, or an address literal with its brackets. */
  readonly domain: string;
}

/** A path has at most 256 octets with its angle brackets (RFC 5321 §4.5.3.1.3). */
const maxAddressBytes = 254;

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
 * Reads a path at the start of `text`. Returns its address (`""` for the null path) and the text
 * behind it, or `undefined` if there is no valid path.
 *
 * A source route is accepted and dropped (RFC 5321 appendix C). `<postmaster>` is read without a
 * domain (§4.1.1.3). Dots anywhere in a local part are accepted, because common senders use them.
 */
export function parsePath(text: string): { address: Address; rest: string } | undefined {
  const found = pathPattern.exec(text) ?? postmasterPattern.exec(text);
  if (!found) return undefined;
  const address = found[1] ?? "";
  if (Buffer.byteLength(address) > maxAddressBytes) return undefined;
  const at = address.lastIndexOf("@");
  if (at >= 0 && normaliseDomain(address.slice(at + 1)) === undefined) return undefined;
  return { address, rest: text.slice(found[0].length) };
}

/** Splits an address into normalised parts; `undefined` if it is not an address. */
export function addressParts(address: Address): AddressParts | undefined {
  const at = address.lastIndexOf("@");
  if (at < 0) return undefined;
  const localPart = normaliseLocalPart(address.slice(0, at));
  const domain = normaliseDomain(address.slice(at + 1));
  return localPart === undefined || domain === undefined ? undefined : { localPart, domain };
}

/**
 * Normalises a domain for comparison: to lower-case A-labels, or an address literal. Returns
 * `undefined` if the text is not a domain.
 */
export function normaliseDomain(domain: string): string | undefined {
  if (domain.startsWith("[")) {
    const lower = domain.toLowerCase();
    return literalPattern.test(lower) ? lower : undefined;
  }
  if (/[%/\\?#@:[\]\s]/.test(domain)) return undefined; // Special characters of a URL parser.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of code points.
  const ascii = /^[\x00-\x7f]*$/.test(domain) ? domain.toLowerCase() : domainToASCII(domain);
  if (ascii.length > 253 || !domainPattern.test(ascii) || numericLabel.test(ascii)) {
    return undefined;
  }
  return ascii;
}

/** Unquotes, then normalises: all spellings of one local part give the same text. */
function normaliseLocalPart(localPart: string): string | undefined {
  const plain = /^".*"$/s.test(localPart)
    ? localPart.slice(1, -1).replace(/\\(.)/gs, "$1")
    : localPart;
  if (plain === "" || !plain.isWellFormed()) return undefined;
  return plain.normalize("NFC").toLowerCase().normalize("NFC");
}
