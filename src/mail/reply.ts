/**
 * SMTP replies, and the outcome that each means for one recipient.
 *
 * The first digit decides: 2yz accepts, 4yz defers, 5yz fails (RFC 5321 §4.2.1). The enhanced
 * code is more exact and starts with the same digit (RFC 3463 §2).
 */
import type { RecipientOutcome, Reply, ReplyPhase, StoredCopy } from "./contract.ts";

/** The reach of a refusal; see {@link RecipientOutcome}. */
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

/** Writes a reply as one line, without the line ending: `550 5.1.1 No such mailbox`. */
export function formatReply({ code, enhanced, text }: Reply): string {
  return enhanced === undefined ? `${code} ${text}` : `${code} ${enhanced} ${text}`;
}

/** Makes the outcome of a recipient whose copy is durable. */
export function delivered(given: Reply, copy?: StoredCopy): RecipientOutcome {
  return copy ? { kind: "delivered", reply: given, copy } : { kind: "delivered", reply: given };
}

/** Makes the outcome of a refusal: a 4yz reply defers, any other fails. */
export function refused(given: Reply, scope: RefusalScope = "recipient"): RecipientOutcome {
  return { kind: isTemporary(given) ? "deferred" : "failed", reply: given, scope };
}

/** Whether the reply asks the sender to try again. */
export function isTemporary({ code }: Reply): boolean {
  return code >= 400 && code < 500;
}
