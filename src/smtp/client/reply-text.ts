/**
 * Reads the replies of a remote server: code, enhanced code, and one line of text that is safe to store
 * and to show. What a stranger's server writes is data, never markup or control characters.
 *
 * @see RFC 5321 §4.2 (replies), RFC 3463 (enhanced status codes)
 */
import type { Reply, ReplyPhase } from "../../mail/index.ts";

/** Longest text kept of a reply, in UTF-16 units. */
const maxTextLength = 512;

const replyCode = /^[2-5]\d\d(?=[ \r\n-]|$)/;

/** Whether it begins as a reply does; what does not says nothing about what the server did. */
export function isReply(raw: string): boolean {
  return replyCode.test(raw);
}

/** Reads a whole reply, of one line or several; what is no reply counts as 451. */
export function readReply(raw: string, phase: ReplyPhase): Reply {
  const lines = raw.split(/\r?\n/).filter((line) => line !== "");
  const code = Number(replyCode.exec(lines[0] ?? "")?.[0] ?? 451);
  const enhanced = /^\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})(?=\s|$)/.exec(lines[0] ?? "")?.[1];
  const text = lines
    .map((line) => line.replace(/^\d{3}[ -]?/, "").replace(/^[245]\.\d{1,3}\.\d{1,3}(?:\s+|$)/, ""))
    .join(" ");
  return { code, ...(enhanced !== undefined && { enhanced }), text: oneLine(text), phase };
}

/** One line of printable text, cut at a sensible length. */
export function oneLine(text: string): string {
  const plain = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, " ")
    .trim();
  return plain.length > maxTextLength ? `${plain.slice(0, maxTextLength - 1)}…` : plain;
}
