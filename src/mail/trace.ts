/**
 * The header fields that a delivering host adds at the top of a message: `Return-Path`,
 * `Delivered-To` and `Received`.
 *
 * Invariant: no value can start a field of its own. Control characters never reach a header, not
 * even from the name that a client gave; lines are folded at 78 columns, and exceed the 998 of RFC
 * 5322 only where one word alone does.
 *
 * @see RFC 5321 §4.4 (trace information), RFC 5322 §2.1.1 and §2.2.3 (line length, folding),
 * RFC 6531 §4.3 (UTF8SMTP), RFC 3848 (ESMTP, LMTP).
 */
import type { Address } from "./contract.ts";

export type LineEndings = "lf" | "crlf";

/** The `with` clause: the protocol of the transaction. */
export type TransmissionType = "SMTP" | "ESMTP" | "LMTP" | "UTF8SMTP" | "UTF8LMTP";

export interface DeliveryTrace {
  /** The reverse-path of the envelope; `""` makes `Return-Path: <>`. */
  readonly reversePath: Address;
  readonly recipient: Address;
  /** @defaultValue "lf" */
  readonly lineEndings?: LineEndings | undefined;
}

export interface ReceivedTrace {
  /** The name that the client gave in HELO, EHLO or LHLO. */
  readonly helo: string;
  /** The client's IP address; absent on a UNIX socket. */
  readonly clientAddress?: string | undefined;
  /** This host's name. */
  readonly by: string;
  readonly with: TransmissionType;
  /** The session's id, to find it in the log. */
  readonly id: string;
  /** Only for a message with one recipient: more would be disclosed to each other (§7.6). */
  readonly for?: Address | undefined;
  /** Milliseconds since 1970. */
  readonly receivedAtMs: number;
  /** @defaultValue "lf" */
  readonly lineEndings?: LineEndings | undefined;
}

/** Writes the fields of one recipient's copy: `Return-Path` and `Delivered-To` (RFC 5321 §4.4). */
export function deliveryHeaders({
  reversePath,
  recipient,
  lineEndings,
}: DeliveryTrace): Uint8Array {
  return Buffer.from(
    field("Return-Path", [`<${clean(reversePath)}>`], lineEndings) +
      field("Delivered-To", [clean(recipient)], lineEndings),
  );
}

/** Writes the `Received` field of a transaction (RFC 5321 §4.4). */
export function receivedHeader(trace: ReceivedTrace): Uint8Array {
  const { helo, clientAddress, by, id, receivedAtMs, lineEndings } = trace;
  const words = ["from", clean(helo) || "unknown"];
  if (clientAddress !== undefined) words.push(`(${addressLiteral(clean(clientAddress))})`);
  words.push("by", clean(by), "with", trace.with, "id", clean(id));
  if (trace.for !== undefined) words.push("for", `<${clean(trace.for)}>`);
  const last = words.pop() ?? "";
  words.push(`${last};`, ...dateTime(receivedAtMs).split(" "));
  return Buffer.from(field("Received", words, lineEndings));
}

/** Writes a date in the form of RFC 5322 §3.3, in UTC: `Sun, 22 Nov 2026 07:05:00 +0000`. */
export function dateTime(timeMs: number): string {
  const second = Math.floor(timeMs / 1_000);
  if (second !== latest.second) {
    latest = { second, text: new Date(timeMs).toUTCString().replace("GMT", "+0000") };
  }
  return latest.text;
}

/** The last date written: thousands of messages arrive within one second. */
let latest = { second: Number.NaN, text: "" };

/** Joins words into a field, folding before a word that would pass the 78th column. */
function field(name: string, words: readonly string[], lineEndings: LineEndings = "lf"): string {
  const newline = lineEndings === "crlf" ? "\r\n" : "\n";
  let text = `${name}:`;
  let column = text.length;
  for (const word of words) {
    if (column + 1 + word.length > 78 && column > name.length + 1) {
      text += newline;
      column = 0;
    }
    text += ` ${word}`;
    column += 1 + word.length;
  }
  return text + newline;
}

/** Replaces characters that end a line or are invisible in one. */
function clean(value: string): string {
  return unsafe.test(value) ? value.replace(new RegExp(unsafe, "g"), "?") : value;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
const unsafe = /[\x00-\x1f\x7f-\x9f\u2028\u2029]+/;

function addressLiteral(address: string): string {
  return address.includes(":") ? `[IPv6:${address}]` : `[${address}]`;
}
