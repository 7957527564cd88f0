/**
 * Parses the replies of a remote server: code, enhanced code, and one line of text that is safe to
 * store and to show. The text of a remote server is data, never markup or control characters. Pure.
 *
 * @see RFC 5321 §4.2 (replies), RFC 3463 (enhanced status codes)
 */
import type { Reply, ReplyPhase } from "../../mail/index.ts";

/** Length to which the text of a reply is cut, in UTF-16 units. */
const maxTextLength = 512;

const replyCode = /^[2-5]\d\d(?=[ \r\n-]|$)/;

/** Whether a text begins like a reply; after any other text it is unknown what the server did. */
export function isReply(raw: string): boolean {
  return replyCode.test(raw);
}

/** Parses a whole reply of one or more lines; a text that is no reply counts as 451. */
export function readReply(raw: string, phase: ReplyPhase): Reply {
  const lines = raw.split(/\r?\n/).filter((line) => line !== "");
  const code = Number(replyCode.exec(lines[0] ?? "")?.[0] ?? 451);
  const enhanced = /^\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})(?=\s|$)/.exec(lines[0] ?? "")?.[1];
  const text = lines
    .map((line) => line.replace(/^\d{3}[ -]?/, "").replace(/^[245]\.\d{1,3}\.\d{1,3}(?:\s+|$)/, ""))
    .join(" ");
  return { code, ...(enhanced !== undefined && { enhanced }), text: oneLine(text), phase };
}

/** Makes one line of printable text, cut to {@link maxTextLength}. */
export function oneLine(text: string): string {
  const plain = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, " ")
    .trim();
  return plain.length > maxTextLength ? `${plain.slice(0, maxTextLength - 1)}…` : plain;
}
