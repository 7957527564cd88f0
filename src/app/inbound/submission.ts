/**
 * Mail for other domains that comes by SMTP: who may hand it in, and where it goes.
 *
 * Never an open relay: a stranger is refused at RCPT. Over SMTP one reply stands for all recipients, and
 * a sender that hears 451 sends to all of them again. So what can fail as a whole comes first: the
 * recipients elsewhere go into the outbox in one commit. Then those here get their copies; whom a fault
 * of ours leaves without one, after others have theirs, goes into the outbox too, and is tried again
 * from there instead of by the sender.
 */
import {
  type Deliver,
  type DeliverOptions,
  type Envelope,
  MemoryBudget,
  type Message,
  type RecipientOutcome,
  type Reply,
  refused,
  reply,
  withCrlf,
} from "../../mail/index.ts";
import { type Outbox, OutboxError } from "../../outbox/index.ts";
import type { SessionInfo } from "../../smtp/index.ts";
import { isLoopback } from "../settings/kinds.ts";
import { isWithin } from "../settings/outbound-kinds.ts";
import type { Settings } from "../settings/table.ts";
import type { Engine } from "./engine.ts";

export interface SubmissionOptions {
  readonly settings: Pick<Settings, "relayFrom" | "smtp">;
  readonly engine: Pick<Engine, "deliver" | "checkRecipient" | "isOurs">;
  /** `undefined` while it cannot be used. */
  readonly outbox: () => Outbox | undefined;
  readonly onQueued: (mail: QueuedMail) => void;
  readonly onFault: (error: unknown) => void;
}

/** One message in the outbox. */
export interface QueuedMail {
  readonly id: string;
  readonly from: string;
  readonly to: readonly string[];
}

/** What an SMTP listener asks. */
export interface Submission {
  readonly deliver: Deliver;
  readonly checkRecipient: (recipient: string, session: SessionInfo) => Promise<Reply | undefined>;
}

const notNow = reply(451, "4.3.0", "Mail for other domains cannot be taken now, try again later");
const unfit = reply(554, "5.6.0", "The message cannot be sent as it is", "message");

/** Octets of spooled messages on their way into the outbox at once; one that is larger goes alone. */
const maxMemoryBytes = 16 * 1024 * 1024;

/** The most recipients that one message in the outbox has. */
const maxRecipients = 1_000;

/** Others have their copies by now: this is the last chance of those left. */
const noHurry = new AbortController().signal;

export function submission(options: SubmissionOptions): Submission {
  const { settings, engine, outbox, onQueued, onFault } = options;

  const inMemory = new MemoryBudget(maxMemoryBytes);

  /** Puts mail into the outbox in one commit: one outcome for all of it. */
  const enqueue: Enqueue = (envelope, message, { signal }) => {
    const now = () => enqueueNow(envelope, message);
    // What is not in a file is in memory already, and counted where it came in.
    if (message.file === undefined) return now();
    return inMemory.hold(message.size, untilGone(signal), now);
  };

  async function enqueueNow(envelope: Envelope, message: Message): Promise<RecipientOutcome> {
    const open = outbox();
    if (open === undefined) return refused(notNow, "route");
    const { reversePath: from, recipients } = envelope;
    try {
      const raw = await asSent(message);
      const mails = parts(recipients).map((to) => ({ raw, envelope: { from, to } }));
      const queued = await open.enqueueMany(mails);
      if (message.file !== undefined) letGo(raw);
      for (const { id, recipients: to } of queued) onQueued({ id, from, to });
      const text = `queued as ${queued[0]?.id}`;
      return { kind: "delivered", reply: reply(250, "2.0.0", text, "message") };
    } catch (error) {
      onFault(error);
      const isOurFault = !(error instanceof OutboxError && error.code === "ERR_OUTBOX_MAIL");
      return refused(isOurFault ? notNow : unfit, "message");
    }
  }

  return {
    deliver: mixedDelivery({ isOurs: engine.isOurs, local: engine.deliver, enqueue }),
    async checkRecipient(recipient, session) {
      if (engine.isOurs(recipient) || !mayRelay(session, settings)) {
        return engine.checkRecipient(recipient);
      }
      return outbox() ? undefined : { ...notNow, phase: "rcpt" };
    },
  };
}

/** Tells whether a client may hand in mail for other domains. */
export function mayRelay(
  { isLocal, clientAddress }: Pick<SessionInfo, "isLocal" | "clientAddress">,
  { relayFrom, smtp }: Pick<Settings, "relayFrom" | "smtp">,
): boolean {
  if (relayFrom !== undefined)
    return clientAddress !== undefined && isWithin(clientAddress, relayFrom);
  // Behind a forwarder every stranger seems to come from here, unless nobody else is meant to reach us.
  return isLocal && smtp !== false && isLoopback(smtp);
}

/** Tells whether anybody may: without, the server can do all its work while the outbox rests. */
export function takesMailForOthers({ relayFrom, smtp }: Pick<Settings, "relayFrom" | "smtp">) {
  if (smtp === false) return false;
  return relayFrom === undefined ? isLoopback(smtp) : relayFrom.length > 0;
}

type Enqueue = (
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
) => Promise<RecipientOutcome>;

/** Joins the mailboxes here and the outbox to one {@link Deliver}. */
export function mixedDelivery(ways: {
  readonly isOurs: (recipient: string) => boolean;
  readonly local: Deliver;
  readonly enqueue: Enqueue;
}): Deliver {
  const { isOurs, local, enqueue } = ways;
  return async (envelope, message, options) => {
    const { reversePath, recipients } = envelope;
    const elsewhere = recipients.filter((recipient) => !isOurs(recipient));
    if (elsewhere.length === 0 && recipients.length === 1) return local(envelope, message, options);

    let queued: RecipientOutcome | undefined;
    if (elsewhere.length > 0) {
      queued = await enqueue({ reversePath, recipients: elsewhere }, message, options);
      const refusal = queued;
      if (refusal.kind !== "delivered") return recipients.map(() => refusal);
    }
    const here = recipients.filter(isOurs);
    const stored =
      here.length > 0 ? await local({ reversePath, recipients: here }, message, options) : [];

    const isTaken = queued !== undefined || stored.some(({ kind }) => kind === "delivered");
    const left = here.filter((_, position) => stored[position]?.kind === "deferred");
    const later =
      isTaken && left.length > 0
        ? await enqueue({ reversePath, recipients: left }, message, { ...options, signal: noHurry })
        : undefined;

    const outcomes = stored.map((outcome) =>
      outcome.kind === "deferred" && later?.kind === "delivered" ? later : outcome,
    );
    let next = 0;
    return recipients.map((recipient) =>
      isOurs(recipient) ? (outcomes[next++] as RecipientOutcome) : (queued as RecipientOutcome),
    );
  };
}

/** The message with CRLF. A large one is held no longer in two forms than it takes to make one of the other. */
async function asSent(message: Message): Promise<Uint8Array> {
  const stored = await message.bytes();
  if (message.file === undefined) return stored; // Small: the outbox does so.
  const sent = withCrlf(stored);
  if (sent !== stored) letGo(stored);
  return sent;
}

/**
 * Aborts when the client has gone, not when it has waited long: it waits for others' mail, which goes
 * forward, its own is on the disk meanwhile, and RFC 5321 §4.5.3.2.6 has it wait ten minutes.
 */
function untilGone(signal: AbortSignal): AbortSignal {
  const gone = new AbortController();
  const onAbort = () => {
    if (signal.reason?.name !== "TimeoutError") gone.abort(signal.reason);
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return gone.signal;
}

/** Gives memory back at once: large messages would fill it before the collector comes by. */
function letGo({ buffer, byteLength }: Uint8Array): void {
  // What is a part of something is not ours alone.
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

function parts(recipients: readonly string[]): string[][] {
  const count = Math.ceil(recipients.length / maxRecipients);
  return Array.from({ length: count }, (_, index) =>
    recipients.slice(index * maxRecipients, (index + 1) * maxRecipients),
  );
}
