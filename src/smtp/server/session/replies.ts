/** Replies as the octets of a session. Pure. */
import { formatReply, type Reply } from "../../../mail/index.ts";

/**
 * Writes a reply with its CRLF (RFC 5321 §4.2.1). Whatever its text holds, it stays one line; without an
 * enhanced code it gets the general one of its class (RFC 2034 §4, RFC 3463 §3.1).
 */
export function replyOctets(given: Reply): string {
  const { code, enhanced = `${Math.trunc(code / 100)}.0.0` } = given;
  const line = formatReply({ ...given, enhanced });
  return `${controls.test(line) ? line.replace(new RegExp(controls, "g"), " ") : line}\r\n`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
const controls = /[\x00-\x1f\x7f-\x9f]/;
