/** Parses, for session.ts, the commands with arguments: HELO, EHLO, LHLO, MAIL and RCPT. Pure. */
import { type Address, parsePath } from "../../../mail/index.ts";

/** The parts of MAIL or RCPT (RFC 5321 §4.1.2). */
export interface PathCommand {
  readonly address: Address;
  /** ESMTP parameters by upper-case keyword; a keyword without a value is `true`. */
  readonly parameters: ReadonlyMap<string, string | true>;
  /** The first keyword that was given twice. */
  readonly duplicate?: string | undefined;
}

const prefixes = { MAIL: /^mail\s+from:\s*/i, RCPT: /^rcpt\s+to:\s*/i };
const noParameters: ReadonlyMap<string, string | true> = new Map();

/**
 * Parses `MAIL FROM:<…> …` or `RCPT TO:<…> …`; returns `undefined` for anything else and for bytes
 * that are not UTF-8. `RCPT TO:<postmaster>` gets `postmasterDomain` (RFC 5321 §4.1.1.3).
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

/** Characters of a name in EHLO; a domain has at most 255 octets (RFC 5321 §4.5.3.1.2). */
const maxHostLength = 300;

/** Parses the name in `EHLO name`; `undefined` unless it is one word without control characters. */
export function readHello(line: string): string | undefined {
  const [, name = "", ...more] = line.trim().split(/\s+/);
  const isName = name !== "" && more.length === 0 && name.length <= maxHostLength;
  return isName && !controls.test(name) ? name.toLowerCase() : undefined;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
const controls = /[\x00-\x1f\x7f-\x9f]/;
