/**
 * From the outcomes of a delivery to the replies of a session.
 *
 * LMTP answers each recipient on its own (RFC 2033 §4.2). SMTP has one reply for all, so a mixed result
 * has to be rounded, and never towards a promise nobody made: 250 only when every recipient has the
 * message. The price is named in docs/explanation/durability.md: with a 451 after some recipients were delivered,
 * the sender's next try gives those a second copy.
 */
import { type RecipientOutcome, type Reply, reply } from "../../../mail/index.ts";

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
