/**
 * Delivers a message over one route (a relay, or the hosts of one domain): one attempt, one outcome
 * for each recipient. Called by relay.ts and direct.ts; sends by a session of the route's pool.
 *
 * Invariant: an outcome is `delivered` only by the server's reply to the final dot, and `inDoubt`
 * where that reply is missing. A failure of the route has the scope `route`: it does not judge the
 * message. The outbox retries deferred recipients.
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
  /**
   * Only for the hosts of a domain: leaves out the session's host for two minutes. Returns whether
   * the domain has another host to try.
   */
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
      // Recipients of earlier rounds stay delivered; the others keep "too many recipients".
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
    // After "too many recipients" the next round follows at once, if this one delivered to some.
    left = tooMany.length < left.length && replies.some((one) => one.accepted) ? tooMany : [];
  }
  return completeOutcomes(outcomes);
}

/** Returns the outcomes; throws unless each recipient has one. */
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
 * Runs one transaction. Where no session can be opened, that failure is the reply to every
 * recipient. A session that ends at MAIL is replaced: a reused one by another session of the pool,
 * a new one by a session with the domain's next host.
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

/** Whether the session ended at MAIL: the server then has nothing of the message. */
const isEndBeforeMail = ({ reply, accepted, inDoubt }: RecipientReply) =>
  !accepted &&
  !inDoubt &&
  reply.phase === "mail" &&
  (reply.code === 421 || reply.enhanced === "4.4.2");

/**
 * Sends to the recipients whose addresses are ASCII, or to all where the server offers SMTPUTF8.
 * The others get 550 5.6.7 from this client.
 */
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

/**
 * Without SMTPUTF8 writes the domain as A-labels, and returns `undefined` for a local part beyond
 * ASCII (RFC 6531 §3.2).
 */
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
  /** Connections that are being opened or carry a message. */
  readonly connectionsInUse: number;
  /** Open connections without a message. */
  readonly connectionsIdle: number;
  /** Messages that wait for a connection. */
  readonly waiting: number;
}

export interface SmtpClient extends AsyncDisposable {
  /**
   * Sends a message; see {@link Deliver}. Rejects only where no server can have accepted it: with
   * the signal's reason, or with an error of `beforeCommit`, of reading or of signing the message.
   */
  readonly deliver: Deliver;
  stats(): SmtpClientStats;
  /**
   * Closes idle connections and ends the signing thread. Connections in use are closed after their
   * message, for which `close` does not wait. Idempotent.
   */
  close(): Promise<void>;
}
