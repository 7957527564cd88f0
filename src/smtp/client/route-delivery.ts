/**
 * The SMTP client: a {@link Deliver} that hands mail to a remote server, by one relay or to the hosts
 * of each recipient's domain.
 *
 * It tries once and tells the truth: every recipient's own outcome, what the route is to blame for, and
 * whether a lost reply leaves it open what happened. Trying again is the caller's business.
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
import { classify, outcomeOf, type ReplyRule, type RouteKind } from "./classify.ts";
import type { Signer } from "./dkim.ts";
import type { Session } from "./session.ts";
import type { SessionKeeper } from "./session-pool.ts";
import { RouteFailure } from "./target.ts";
import type { RecipientReply } from "./transaction-end.ts";

/** One way to hand a message over: its sessions, and how its replies are read. */
export interface Route {
  readonly kind: RouteKind;
  readonly keeper: SessionKeeper;
  readonly rules: readonly ReplyRule[];
  readonly signer: Signer | undefined;
  /** Where there are several hosts: leaves out that of this session; tells whether another is left. */
  readonly avoid?: (session: Session) => boolean;
}

/** Delivers over one route; one outcome per recipient, in order. */
export async function deliverOver(
  route: Route,
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
): Promise<readonly RecipientOutcome[]> {
  const signed = route.signer ? await route.signer.sign(message) : message;
  const outcomes: (RecipientOutcome | undefined)[] = envelope.recipients.map(() => undefined);
  let left = envelope.recipients.map((_, position) => position);
  while (left.length > 0) {
    const part = { ...envelope, recipients: left.map((at) => envelope.recipients[at] as Address) };
    let replies: readonly RecipientReply[];
    try {
      replies = await transact(route, part, signed, options);
    } catch (error) {
      // Who was accepted in a round before stays so; the rest keeps the reply that put it off.
      if (!outcomes.some((outcome) => outcome?.kind === "delivered")) throw error;
      break;
    }
    const tooMany: number[] = [];
    for (const [index, position] of left.entries()) {
      const { reply, accepted, inDoubt, via } = replies[index] as RecipientReply;
      const who = via === undefined ? {} : { via };
      if (accepted) outcomes[position] = { kind: "delivered", reply, ...who };
      else if (inDoubt) {
        outcomes[position] = { kind: "deferred", reply, scope: "message", inDoubt, ...who };
      } else {
        const found = classify({ reply, route: route.kind }, route.rules);
        if (found === "next-transaction") tooMany.push(position);
        outcomes[position] = { ...outcomeOf(reply, found), ...who };
      }
    }
    // "Too many recipients": the rest goes at once, as long as each round takes some of them.
    left = tooMany.length < left.length && replies.some((one) => one.accepted) ? tooMany : [];
  }
  return outcomes as RecipientOutcome[];
}

/**
 * One transaction; a route that is not open is a reply to every recipient. As long as nobody was given
 * the mail, a session that broke off is replaced: an idle one by a fresh one, a host by the next.
 */
async function transact(
  { keeper, avoid }: Route,
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
): Promise<readonly RecipientReply[]> {
  try {
    for (;;) {
      const replies = await keeper.use(options.signal, async (session) => {
        const reused = session.transactions > 0;
        const given = await transactOn(session, envelope, message, options);
        if (session.usable || !given.every(endedBeforeIt)) return given;
        return reused || avoid?.(session) ? undefined : given;
      });
      if (replies) return replies;
    }
  } catch (error) {
    if (!(error instanceof RouteFailure)) throw error;
    const { reply, via } = error;
    return envelope.recipients.map(() => ({ reply, accepted: false, ...(via && { via }) }));
  }
}

const endedBeforeIt = ({ reply, accepted, inDoubt }: RecipientReply) =>
  !accepted &&
  !inDoubt &&
  reply.phase === "mail" &&
  (reply.code === 421 || reply.enhanced === "4.4.2");

/** Sends to those whom this server can be given at all. */
async function transactOn(
  session: Session,
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
  return wire.map((address) =>
    address === undefined ? noUtf8("rcpt") : (replies[next++] as RecipientReply),
  );
}

/** Domains as A-labels; a local part beyond ASCII needs SMTPUTF8 (RFC 6531 §3.2). */
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

/** What a client can tell about itself. */
export interface SmtpClientStats {
  readonly connectionsInUse: number;
  readonly connectionsIdle: number;
  /** Messages waiting for a connection. */
  readonly waiting: number;
}

export interface SmtpClient extends AsyncDisposable {
  /**
   * Hands a message over; see {@link Deliver}. Rejects with the signal's reason, or with what
   * `beforeCommit` threw, when nothing can have been accepted.
   */
  readonly deliver: Deliver;
  stats(): SmtpClientStats;
  /** Lets idle connections go; those in use end with their message. Idempotent. */
  close(): Promise<void>;
}
