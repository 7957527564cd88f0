/**
 * Delivers a message over one route: a relay, or the hosts of one domain. One attempt, one outcome
 * for each recipient.
 *
 * Invariant: an outcome is `delivered` only by the server's reply to the final dot, and `inDoubt`
 * where that reply is missing. A failure of the route is reported as such, apart from the message.
 * The caller retries.
 */
import { domainToASCII } from "node:url";
import type {
  Address,
  Deliver,
  DeliverOptions,
  Envelope,
  Message,
  RecipientOutcome,
  Reply,
} from "../../mail/index.ts";
import { invariant } from "../../system/index.ts";
import { classify, outcomeOf, type ReplyRule, type RouteKind } from "./classify.ts";
import type { Signer } from "./dkim.ts";
import type { ClientSession } from "./session.ts";
import type { SessionPool } from "./session-pool.ts";
import { RouteFailure } from "./target.ts";
import type { RecipientReply } from "./transaction-end.ts";

/** The sessions of a route, and the rules for its replies. */
export interface Route {
  readonly kind: RouteKind;
  readonly pool: SessionPool;
  readonly rules: readonly ReplyRule[];
  readonly signer: Signer | undefined;
  /** For several hosts: leaves out the host of this session; returns whether another is left. */
  readonly avoid?: ((session: ClientSession) => boolean) | undefined;
}

/** Delivers over one route; returns one outcome per recipient, in order. */
export async function deliverOver(
  route: Route,
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
): Promise<readonly RecipientOutcome[]> {
  const signed = route.signer ? await route.signer.sign(message) : message;
  const outcomes: (RecipientOutcome | undefined)[] = envelope.recipients.map(() => undefined);
  let left = [...envelope.recipients.entries()];
  while (left.length > 0) {
    const part = { ...envelope, recipients: left.map(([, recipient]) => recipient) };
    let replies: readonly RecipientReply[];
    try {
      replies = await transact(route, part, signed, options);
    } catch (error) {
      // A recipient accepted in an earlier round stays so; the others keep their temporary refusal.
      if (!outcomes.some((outcome) => outcome?.kind === "delivered")) throw error;
      break;
    }
    const tooMany: typeof left = [];
    for (const [index, [position, recipient]] of left.entries()) {
      const { reply, accepted, inDoubt, via } = replyAt(replies, index);
      const server = via === undefined ? {} : { via };
      if (accepted) outcomes[position] = { kind: "delivered", reply, ...server };
      else if (inDoubt) {
        outcomes[position] = { kind: "deferred", reply, scope: "message", inDoubt, ...server };
      } else {
        const found = classify({ reply, route: route.kind }, route.rules);
        if (found === "next-transaction") tooMany.push([position, recipient]);
        outcomes[position] = { ...outcomeOf(reply, found), ...server };
      }
    }
    // "Too many recipients": the rest is sent at once, as long as each round accepts some of them.
    left = tooMany.length < left.length && replies.some((one) => one.accepted) ? tooMany : [];
  }
  return completeOutcomes(outcomes);
}

/** The outcomes, of which each recipient must have one. */
export function completeOutcomes(
  outcomes: readonly (RecipientOutcome | undefined)[],
): readonly RecipientOutcome[] {
  return outcomes.map((outcome) => {
    invariant(outcome, "each recipient has an outcome");
    return outcome;
  });
}

function replyAt(replies: readonly RecipientReply[], index: number): RecipientReply {
  const reply = replies[index];
  invariant(reply, "a transaction has one reply for each recipient");
  return reply;
}

/**
 * One transaction; a failure to open a session is a reply to every recipient. Until the mail is
 * sent, a session that ends is replaced: one that was idle by a new one, a host by the next.
 */
async function transact(
  { pool, avoid }: Route,
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
): Promise<readonly RecipientReply[]> {
  try {
    for (;;) {
      const replies = await pool.use(options.signal, async (session) => {
        const isReused = session.transactions > 0;
        const given = await transactOn(session, envelope, message, options);
        if (session.isUsable || !given.every(isEndBeforeMail)) return given;
        return isReused || avoid?.(session) ? undefined : given;
      });
      if (replies) return replies;
    }
  } catch (error) {
    if (!(error instanceof RouteFailure)) throw error;
    const { reply, via } = error;
    return envelope.recipients.map(() => ({ reply, accepted: false, via }));
  }
}

/** The session ended at MAIL, before it carried any of the message. */
const isEndBeforeMail = ({ reply, accepted, inDoubt }: RecipientReply) =>
  !accepted &&
  !inDoubt &&
  reply.phase === "mail" &&
  (reply.code === 421 || reply.enhanced === "4.4.2");

/** Sends to the recipients whose addresses this server can take. */
async function transactOn(
  session: ClientSession,
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
): Promise<readonly RecipientReply[]> {
  const utf8 = session.offers("SMTPUTF8");
  const wire = envelope.recipients.map((address) => wireAddress(address, utf8));
  const reversePath = wireAddress(envelope.reversePath, utf8);
  if (reversePath === undefined) return envelope.recipients.map(() => noUtf8("mail"));
  const recipients = wire.filter((address) => address !== undefined);
  if (recipients.length === 0) return wire.map(() => noUtf8("rcpt"));
  const replies = await session.transact({ reversePath, recipients }, message, options);
  let next = 0;
  return wire.map((address) => (address === undefined ? noUtf8("rcpt") : replyAt(replies, next++)));
}

/** Writes domains as A-labels; `undefined` for a local part that needs SMTPUTF8 (RFC 6531 §3.2). */
function wireAddress(address: Address, utf8: boolean): Address | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of code points.
  if (utf8 || /^[\x00-\x7f]*$/.test(address)) return address;
  const at = address.lastIndexOf("@");
  const ascii = `${address.slice(0, at)}@${domainToASCII(address.slice(at + 1))}`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: as above.
  return /^[\x00-\x7f]*$/.test(ascii) ? ascii : undefined;
}

function noUtf8(phase: "mail" | "rcpt"): RecipientReply {
  const text = "The server does not take addresses beyond ASCII";
  const reply: Reply = { code: 550, enhanced: "5.6.7", text, phase };
  return { reply, accepted: false };
}

/** The figures of a client. */
export interface SmtpClientStats {
  readonly connectionsInUse: number;
  readonly connectionsIdle: number;
  /** Messages that wait for a connection. */
  readonly waiting: number;
}

export interface SmtpClient extends AsyncDisposable {
  /**
   * Sends a message; see {@link Deliver}. Rejects with the signal's reason, or with the error of
   * `beforeCommit`, when nothing can have been accepted.
   */
  readonly deliver: Deliver;
  stats(): SmtpClientStats;
  /** Closes idle connections; those in use are closed after their message. Idempotent. */
  close(): Promise<void>;
}
