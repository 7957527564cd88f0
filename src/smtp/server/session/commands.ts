/** Reads the commands of a session that take arguments: HELO and its kin, MAIL and RCPT. Pure. */
import { type Address, parsePath } from "../../../mail/index.ts";

/** MAIL or RCPT, taken apart (RFC 5321 §4.1.2). */
export interface PathCommand {
  readonly address: Address;
  /** ESMTP parameters by upper-case keyword; a keyword without a value is `true`. */
  readonly parameters: ReadonlyMap<string, string | true>;
  /** A keyword that was given twice. */
  readonly duplicate?: string;
}

const prefixes = { MAIL: /^mail\s+from:\s*/i, RCPT: /^rcpt\s+to:\s*/i };
const noParameters: ReadonlyMap<string, string | true> = new Map();

/**
 * Reads `MAIL FROM:<…> …` or `RCPT TO:<…> …`; `undefined` when it is neither. Octets that are no UTF-8
 * make no address. `RCPT TO:<postmaster>` gets `postmasterDomain` (RFC 5321 §4.1.1.3).
 */
export function readPathCommand(
  verb: "MAIL" | "RCPT",
  line: string,
  postmasterDomain: string,
): PathCommand | undefined {
  const [prefix] = prefixes[verb].exec(line) ?? [];
  if (prefix === undefined || line.includes("\ufffd")) return undefined;
  const path = parsePath(line.slice(prefix.length));
  if (!path || !/^(?:\s|$)/.test(path.rest)) return undefined;
  const { address } = path;
  const given = readParameters(path.rest);
  if (address === "" || address.includes("@")) return { ...given, address };
  if (verb === "MAIL") return undefined;
  return { ...given, address: `${address}@${postmasterDomain}` };
}

function readParameters(text: string): Omit<PathCommand, "address"> {
  if (text === "") return { parameters: noParameters };
  const parameters = new Map<string, string | true>();
  for (const word of text.split(/\s+/)) {
    if (word === "") continue;
    const equals = word.indexOf("=");
    const keyword = (equals < 0 ? word : word.slice(0, equals)).toUpperCase();
    if (parameters.has(keyword)) return { parameters, duplicate: keyword };
    parameters.set(keyword, equals < 0 ? true : word.slice(equals + 1));
  }
  return { parameters };
}

/** Longer names than this are nobody's; a domain has at most 255 octets (RFC 5321 §4.5.3.1.2). */
const maxHostLength = 300;

/** Reads the name in `EHLO name`; `undefined` unless there is one, and only one, without controls. */
export function readHello(line: string): string | undefined {
  const [, name = "", ...more] = line.trim().split(/\s+/);
  const isName = name !== "" && more.length === 0 && name.length <= maxHostLength;
  return isName && !controls.test(name) ? name.toLowerCase() : undefined;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
const controls = /[\x00-\x1f\x7f-\x9f]/;
