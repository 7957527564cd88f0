/**
 * The recipients of one message: which mailboxes they are, and which of those are in a loop. Pure.
 *
 * A mailbox gets one copy, however often and in whatever spelling RCPT names it. It gets none when a
 * Delivered-To field of the message names it: the message is in a loop.
 */
import {
  type Address,
  addressParts,
  type RecipientOutcome,
  refused,
  reply,
} from "../../../mail/index.ts";

export interface DistinctRecipients {
  /** One for each mailbox, in the order of RCPT. */
  readonly recipients: readonly Address[];
  /** For each RCPT, the position of its mailbox in `recipients`. */
  readonly positions: readonly number[];
}

/** Finds one recipient for each mailbox. */
export function distinctRecipients(named: readonly Address[]): DistinctRecipients {
  const positionOf = new Map<string, number>();
  const recipients: Address[] = [];
  const positions = named.map((address) => {
    const key = keyOf(address);
    const known = positionOf.get(key);
    if (known !== undefined) return known;
    positionOf.set(key, recipients.length);
    return recipients.push(address) - 1;
  });
  return { recipients, positions };
}

/** Leaves out the recipients whose mailbox is in `deliveredTo`; returns `recipients` itself if none is. */
export function withoutLoops(
  recipients: readonly Address[],
  deliveredTo: readonly string[],
): readonly Address[] {
  if (deliveredTo.length === 0) return recipients;
  const hadIt = new Set(deliveredTo.map(keyOf));
  return recipients.filter((each) => !hadIt.has(keyOf(each)));
}

/** One outcome for each of `recipients`: its own, or a refusal where {@link withoutLoops} left it out. */
export function withLoops(
  recipients: readonly Address[],
  fresh: readonly Address[],
  outcomes: readonly RecipientOutcome[],
): readonly RecipientOutcome[] {
  if (fresh === recipients) return outcomes;
  return recipients.map((each) => outcomes[fresh.indexOf(each)] ?? refused(inLoop));
}

/** The same for every spelling of an address. */
function keyOf(address: Address): string {
  const parts = addressParts(address);
  return parts ? `${parts.localPart}@${parts.domain}` : address;
}

const inLoop = reply(
  554,
  "5.4.6",
  "This mailbox has had the message before, it is in a loop",
  "rcpt",
);
