/**
 * The recipients of one message: the check at RCPT, the mailboxes that they name, and loops.
 *
 * A mailbox gets one copy, however often and in whatever spelling RCPT names it. A mailbox that a
 * Delivered-To field of the message names gets none: the message is in a loop.
 */
import {
  type Address,
  addressParts,
  type RecipientOutcome,
  type Reply,
  refused,
  reply,
} from "../../../mail/index.ts";
import type { SmtpEvent } from "../events.ts";
import type { Settings } from "../options.ts";
import type { ServerSession } from "./session.ts";

export interface RecipientRefusal {
  readonly reply: Reply;
  /** The event that reports the refusal. */
  readonly event: SmtpEvent;
}

/**
 * Finds out whether RCPT is refused: by `maxRecipients`, by `checkRecipient`, or because that check
 * failed. Returns `undefined` where the recipient is accepted; a promise only where
 * `checkRecipient` returns one. Never throws or rejects.
 */
export function refusalOf(
  recipient: Address,
  session: ServerSession,
  { limits, checkRecipient }: Pick<Settings, "limits" | "checkRecipient">,
): RecipientRefusal | undefined | Promise<RecipientRefusal | undefined> {
  if (session.recipients.length >= limits.maxRecipients) {
    const given = tooManyRecipients;
    const limit = "maxRecipients";
    return { reply: given, event: { kind: "limit", limit, reply: given, session: session.info() } };
  }
  const refusalBy = (given: Reply | undefined): RecipientRefusal | undefined =>
    given && {
      reply: given,
      event: { kind: "refused", session: session.info(), reply: given, recipient },
    };
  const checkFailed = (error: unknown): RecipientRefusal => ({
    reply: cannotCheck,
    event: { kind: "error", during: "recipient", error, session: session.info() },
  });
  try {
    const checked = checkRecipient(recipient, session.info());
    return checked instanceof Promise ? checked.then(refusalBy, checkFailed) : refusalBy(checked);
  } catch (error) {
    return checkFailed(error);
  }
}

interface DistinctRecipients {
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

/** Leaves out the mailboxes in `deliveredTo`; returns `recipients` itself if there are none. */
export function withoutLoops(
  recipients: readonly Address[],
  deliveredTo: readonly string[],
): readonly Address[] {
  if (deliveredTo.length === 0) return recipients;
  const hadIt = new Set(deliveredTo.map(keyOf));
  return recipients.filter((each) => !hadIt.has(keyOf(each)));
}

/** Adds a refusal for each of `recipients` that {@link withoutLoops} left out. */
export function withLoops(
  recipients: readonly Address[],
  fresh: readonly Address[],
  outcomes: readonly RecipientOutcome[],
): readonly RecipientOutcome[] {
  if (fresh === recipients) return outcomes;
  return recipients.map((each) => outcomes[fresh.indexOf(each)] ?? refused(inLoop));
}

/** Returns the key of a mailbox: every spelling of its address has the same. */
function keyOf(address: Address): string {
  const parts = addressParts(address);
  return parts ? `${parts.localPart}@${parts.domain}` : address;
}

const tooManyRecipients = reply(
  452,
  "4.5.3",
  "Too many recipients, send to the rest separately",
  "rcpt",
);
const cannotCheck = reply(451, "4.3.0", "Cannot check the recipient now, try again later", "rcpt");
const inLoop = reply(
  554,
  "5.4.6",
  "This mailbox has had the message before, it is in a loop",
  "rcpt",
);
