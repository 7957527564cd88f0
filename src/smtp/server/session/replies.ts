/**
 * Replies of the server: chooses the one SMTP reply to a message from its outcomes, and writes a
 * reply as a line. Pure.
 *
 * LMTP answers each recipient on its own (RFC 2033 §4.2). SMTP has one reply for all, so a mixed
 * result is rounded, and never up: 250 only when every recipient has the message. The price is
 * named in docs/explanation/durability.md: with a 451 after some recipients were delivered, the
 * sender's next try gives those a second copy.
 */
import { formatReply, type RecipientOutcome, type Reply, reply } from "../../../mail/index.ts";

/** Chooses the one reply of an SMTP transaction. */
export function replyForAll(outcomes: readonly RecipientOutcome[]): Reply {
  const first = outcomes[0];
  const deferred = outcomes.find(({ kind }) => kind === "deferred");
  const failed = outcomes.find(({ kind }) => kind === "failed");
  const someDelivered = outcomes.some(({ kind }) => kind === "delivered");
  if (first === undefined) return reply(451, "4.3.0", "Not delivered, try again later", "message");
  if (deferred) return someDelivered ? partlyDeferred : deferred.reply;
  if (failed) return someDelivered ? partlyFailed : failed.reply;
  return first.reply;
}

const partlyDeferred = reply(
  451,
  "4.3.0",
  "Not delivered to every recipient, try again later",
  "message",
);
const partlyFailed = reply(554, "5.0.0", "Not delivered to every recipient", "message");

/**
 * Writes a reply as one line with its CRLF (RFC 5321 §4.2.1), whatever its text contains. A reply
 * without an enhanced code gets the general one of its class (RFC 2034 §4, RFC 3463 §3.1).
 */
export function replyLine(given: Reply): string {
  const { code, enhanced = `${Math.trunc(code / 100)}.0.0` } = given;
  const line = formatReply({ ...given, enhanced });
  return `${controls.test(line) ? line.replace(new RegExp(controls, "g"), " ") : line}\r\n`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
const controls = /[\x00-\x1f\x7f-\x9f]/;
