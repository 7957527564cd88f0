/**
 * Mail for other domains by SMTP: decides which clients may submit it, and puts it into the outbox.
 * The SMTP listener calls it; it calls the engine for recipients of this server's domains.
 *
 * Never an open relay: other clients get 550 at RCPT. SMTP has one reply for all recipients, and a
 * client that receives 451 sends to all of them again. So the outbox comes first: one commit takes
 * all recipients of other domains or none, and after a 451 no recipient has a copy. Then the
 * mailboxes get their copies. If one fails after another recipient succeeded, the reply is 250 and
 * the failed recipient goes into the outbox, which retries it.
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
import { invariant } from "../../system/index.ts";
import { isLoopback } from "../settings/kinds.ts";
import { isWithin } from "../settings/outbound-kinds.ts";
import type { Settings } from "../settings/table.ts";
import type { Engine } from "./engine.ts";

export interface SubmissionOptions {
  readonly settings: Pick<Settings, "relayFrom" | "smtp">;
  readonly engine: Pick<Engine, "deliver" | "checkRecipient" | "isOurs">;
  /** The outbox; `undefined` until it is open, and mail for other domains gets 451. */
  readonly outbox: () => Outbox | undefined;
  /** Called for each message in the outbox, once it is durable there. */
  readonly onQueued: (mail: QueuedMail) => void;
  /** Called with the error when the outbox did not take a message; the client gets 451 or 554. */
  readonly onFault: (error: unknown) => void;
}

/** A message that is durable in the outbox. */
export interface QueuedMail {
  /** The id of the message in the outbox, as `postbag outbox show` takes it. */
  readonly id: string;
  readonly from: string;
  readonly to: readonly string[];
}

/** The functions that an SMTP listener calls. */
export interface Submission {
  readonly deliver: Deliver;
  readonly checkRecipient: (recipient: string, session: SessionInfo) => Promise<Reply | undefined>;
}

const notNow = reply(451, "4.3.0", "Mail for other domains cannot be taken now, try again later");
const unfit = reply(554, "5.6.0", "The message cannot be sent as it is", "message");

/**
 * Bytes of spooled messages in memory at a time, on their way into the outbox. A message larger
 * than this is read while no other spooled message is in memory.
 */
const maxMemoryBytes = 16 * 1024 * 1024;

/** Recipients of one message in the outbox; more recipients become more messages of one commit. */
const maxRecipients = 1_000;

/**
 * The signal for the outbox after other recipients have their copies. It never aborts: the client
 * will get 250, so the failed recipients must get into the outbox.
 */
const neverAborts = new AbortController().signal;

export function submission(options: SubmissionOptions): Submission {
  const { settings, engine, outbox, onQueued, onFault } = options;

  const inMemory = new MemoryBudget(maxMemoryBytes);

  /** Puts a message into the outbox in one commit; the outcome holds for all its recipients. */
  const enqueue: Enqueue = (envelope, message, { signal }) => {
    const now = () => enqueueNow(envelope, message);
    // A message without a file is in memory already, and was counted when it was received.
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
      if (message.file !== undefined) release(raw);
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

/** Tells whether a client may submit mail for other domains. */
export function mayRelay(
  { isLocal, clientAddress }: Pick<SessionInfo, "isLocal" | "clientAddress">,
  { relayFrom, smtp }: Pick<Settings, "relayFrom" | "smtp">,
): boolean {
  if (relayFrom !== undefined)
    return clientAddress !== undefined && isWithin(clientAddress, relayFrom);
  // Behind a forwarder every client seems to be local, so SMTP must listen on loopback only.
  return isLocal && smtp !== false && isLoopback(smtp);
}

/**
 * Tells whether any client may submit mail for other domains. If none may, the server is ready
 * without its outbox.
 */
export function takesMailForOthers({ relayFrom, smtp }: Pick<Settings, "relayFrom" | "smtp">) {
  if (smtp === false) return false;
  return relayFrom === undefined ? isLoopback(smtp) : relayFrom.length > 0;
}

type Enqueue = (
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
) => Promise<RecipientOutcome>;

/** Combines the mailboxes of this server and the outbox into one {@link Deliver}. */
export function mixedDelivery(targets: {
  readonly isOurs: (recipient: string) => boolean;
  readonly local: Deliver;
  readonly enqueue: Enqueue;
}): Deliver {
  const { isOurs, local, enqueue } = targets;
  return async (envelope, message, options) => {
    const { reversePath, recipients } = envelope;
    const elsewhere = recipients.filter((recipient) => !isOurs(recipient));
    if (elsewhere.length === 0 && recipients.length === 1) return local(envelope, message, options);

    let queued: RecipientOutcome | undefined;
    if (elsewhere.length > 0) {
      const outcome = await enqueue({ reversePath, recipients: elsewhere }, message, options);
      if (outcome.kind !== "delivered") return recipients.map(() => outcome);
      queued = outcome;
    }
    const here = recipients.filter(isOurs);
    const stored =
      here.length > 0 ? await local({ reversePath, recipients: here }, message, options) : [];

    const isAccepted = queued !== undefined || stored.some(({ kind }) => kind === "delivered");
    const left = here.filter((_, position) => stored[position]?.kind === "deferred");
    const later =
      isAccepted && left.length > 0
        ? await enqueue({ reversePath, recipients: left }, message, {
            ...options,
            signal: neverAborts,
          })
        : undefined;

    const outcomes = stored.map((outcome) =>
      outcome.kind === "deferred" && later?.kind === "delivered" ? later : outcome,
    );
    let next = 0;
    return recipients.map((recipient) => {
      const outcome = isOurs(recipient) ? outcomes[next++] : queued;
      invariant(outcome !== undefined, "a delivery has one outcome for each recipient");
      return outcome;
    });
  };
}

/**
 * The bytes of the message for the outbox. A spooled message gets CRLF here, and its stored form is
 * released as soon as the form with CRLF exists.
 */
async function asSent(message: Message): Promise<Uint8Array> {
  const stored = await message.bytes();
  if (message.file === undefined) return stored; // Small: the outbox converts it.
  const sent = withCrlf(stored);
  if (sent !== stored) release(stored);
  return sent;
}

/**
 * A signal that aborts when the client has gone, but not at the admission timeout: the message
 * waits in its spool file behind mail that makes progress, and by RFC 5321 §4.5.3.2.6 the client
 * waits ten minutes for the reply.
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

/** Releases memory at once: large messages would fill it before the next garbage collection. */
function release({ buffer, byteLength }: Uint8Array): void {
  // A view of a part of a buffer shares the buffer with other views.
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

function parts(recipients: readonly string[]): string[][] {
  const count = Math.ceil(recipients.length / maxRecipients);
  return Array.from({ length: count }, (_, index) =>
    recipients.slice(index * maxRecipients, (index + 1) * maxRecipients),
  );
}
