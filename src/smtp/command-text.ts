/**
 * The texts of a session, both ways: MAIL and RCPT as they are read, and the words with which the
 * session library hangs up, as we say them. Pure.
 */
import { type Address, parsePath } from "../mail/index.ts";

/** MAIL or RCPT, taken apart (RFC 5321 §4.1.2). */
export interface AddressCommand {
  readonly address: Address;
  /** ESMTP parameters by upper-case keyword; a keyword without a value is `true`. */
  args: Record<string, string | true> | false;
  /** A keyword that was given twice. */
  duplicate?: string;
}

const prefixes = { "mail from": /^mail\s+from:\s*/i, "rcpt to": /^rcpt\s+to:\s*/i };

/**
 * Reads `MAIL FROM:<…> …` or `RCPT TO:<…> …`; `false` when it is neither. Octets that are no UTF-8 make
 * no address. `RCPT TO:<postmaster>` gets `postmasterDomain` (RFC 5321 §4.1.1.3).
 */
export function readAddressCommand(
  verb: "mail from" | "rcpt to",
  line: string,
  postmasterDomain: string,
): AddressCommand | false {
  const [prefix] = prefixes[verb].exec(line) ?? [];
  if (prefix === undefined || line.includes("\ufffd")) return false;
  const path = parsePath(line.slice(prefix.length));
  if (!path || !/^(?:\s|$)/.test(path.rest)) return false;
  const parameters = readParameters(path.rest);
  const { address } = path;
  if (address === "" || address.includes("@")) return { ...parameters, address };
  if (verb === "mail from") return false;
  return { ...parameters, address: `${address}@${postmasterDomain}` };
}

function readParameters(text: string): Omit<AddressCommand, "address"> {
  const words = text.split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) return { args: false };
  const args: Record<string, string | true> = {};
  for (const word of words) {
    const equals = word.indexOf("=");
    const key = (equals < 0 ? word : word.slice(0, equals)).toUpperCase();
    if (Object.hasOwn(args, key)) return { args, duplicate: key };
    args[key] = equals < 0 ? true : word.slice(equals + 1);
  }
  return { args };
}

/** Finds a parameter that was not announced (RFC 5321 §4.1.1.11). */
export function unknownParameter(
  args: AddressCommand["args"],
  known: readonly string[],
): string | undefined {
  return Object.keys(args || {}).find((each) => !known.includes(each));
}

/**
 * Writes a reply (RFC 5321 §4.2.1). A line that brings an enhanced code keeps it; any other gets
 * `enhanced`, unless that is empty. Whatever a line holds, it stays one line.
 */
export function replyLines(code: number, enhanced: string, lines: readonly string[]): string {
  return lines
    .map((line, index) => {
      const separator = index < lines.length - 1 ? "-" : " ";
      const prefix = enhanced === "" || hasEnhancedCode(line) ? "" : `${enhanced} `;
      return `${code}${separator}${prefix}${controls.test(line) ? oneLine(line) : line}\r\n`;
    })
    .join("");
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
const controls = /[\x00-\x1f\x7f-\x9f]/;

function oneLine(text: string): string {
  return text.replace(new RegExp(controls, "g"), " ");
}

/** Tells whether a text begins with an enhanced status code (RFC 2034 §4). */
export function hasEnhancedCode(text: string): boolean {
  return /^[245]\.\d{1,3}\.\d{1,3} /.test(text);
}

/** The library's own reasons to hang up, with the enhanced codes they deserve (RFC 3463). */
const hangUpTexts: readonly (readonly [RegExp, string])[] = [
  [/shutting down/i, "4.3.2 Shutting down, try again later"],
  [/line too long/i, "4.5.2 Command line too long"],
  [/too soon/i, "4.7.0 You talk before the greeting"],
  [/HTTP/, "4.7.0 This is not HTTP"],
  [/unrecognized/, "4.7.0 Too many unknown commands"],
];

/** The text of a 421: ours as it is, the library's in our words. */
export function hangUpText(text: string): string {
  if (hasEnhancedCode(text)) return text;
  return hangUpTexts.find(([pattern]) => pattern.test(text))?.[1] ?? `4.3.0 ${text}`;
}
