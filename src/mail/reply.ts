/**
 * SMTP replies and what they mean for one recipient.
 *
 * The first digit decides everything: 2yz took responsibility, 4yz asks to try again, 5yz ends it
 * (RFC 5321 §4.2.1). The enhanced code says the same thing more exactly and starts with that digit
 * (RFC 3463 §2).
 */
import type { RecipientOutcome, Reply, ReplyPhase, StoredCopy } from "./contract.ts";

/** How far a refusal reaches; see {@link RecipientOutcome}. */
export type RefusalScope = "recipient" | "message" | "route";

/** Makes a reply. `text` is one line for a person, without codes, paths or configuration. */
export function reply(
  code: number,
  enhanced: string,
  text: string,
  phase: ReplyPhase = "local",
): Reply {
  return { code, enhanced, text, phase };
}

/**
 * Writes a reply as one line of a session, without the line ending: `550 5.1.1 No such mailbox`.
 */
export function formatReply({ code, enhanced, text }: Reply): string {
  return enhanced === undefined ? `${code} ${text}` : `${code} ${enhanced} ${text}`;
}

/** Says that a recipient's copy is durable. */
export function delivered(given: Reply, copy?: StoredCopy): RecipientOutcome {
  return copy ? { kind: "delivered", reply: given, copy } : { kind: "delivered", reply: given };
}

/** Says what a refusal means for a recipient: a 4yz reply defers, any other fails. */
export function refused(given: Reply, scope: RefusalScope = "recipient"): RecipientOutcome {
  return { kind: isTemporary(given) ? "deferred" : "failed", reply: given, scope };
}

/** Tells whether the sender is asked to try again. */
export function isTemporary({ code }: Reply): boolean {
  return code >= 400 && code < 500;
}
