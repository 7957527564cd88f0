/**
 * Mail for other domains by SMTP: which clients may submit it, and where it goes.
 *
 * Never an open relay: other clients are refused at RCPT. Over SMTP one reply answers all
 * recipients, and a sender that receives 451 sends to all of them again. So the step that fails as
 * a whole comes first: the recipients elsewhere go into the outbox in one commit. Then the
 * recipients here get their copies. A recipient here whose delivery fails after others succeeded
 * goes into the outbox too, and is retried from there instead of by the sender.
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
  /** The outbox; `undefined` while it cannot be used. */
  readonly outbox: () => Outbox | undefined;
  readonly onQueued: (mail: QueuedMail) => void;
  readonly onFault: (error: unknown) => void;
}

/** A message that was put into the outbox. */
export interface QueuedMail {
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
 * Bytes of spooled messages in memory at a time, on their way into the outbox; a larger one goes
 * alone.
 */
const maxMemoryBytes = 16 * 1024 * 1024;

/** Recipients of one message in the outbox. */
const maxRecipients = 1_000;

/**
 * Never aborts: other recipients have their copies by now, so the rest must get into the outbox.
 */
const neverAborts = new AbortController().signal;

export function submission(options: SubmissionOptions): Submission {
  const { settings, engine, outbox, onQueued, onFault } = options;

  const inMemory = new MemoryBudget(maxMemoryBytes);

  /** Puts mail into the outbox in one commit: one outcome for all of it. */
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

/** Tells whether any client may submit such mail; if not, the server needs no outbox. */
export function takesMailForOthers({ relayFrom, smtp }: Pick<Settings, "relayFrom" | "smtp">) {
  if (smtp === false) return false;
  return relayFrom === undefined ? isLoopback(smtp) : relayFrom.length > 0;
}

type Enqueue = (
  envelope: Envelope,
  message: Message,
  options: DeliverOptions,
) => Promise<RecipientOutcome>;

/** Combines the mailboxes here and the outbox into one {@link Deliver}. */
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
 * The message with CRLF. Of a large message the stored form is released as soon as the other
 * exists.
 */
async function asSent(message: Message): Promise<Uint8Array> {
  const stored = await message.bytes();
  if (message.file === undefined) return stored; // Small: the outbox converts it.
  const sent = withCrlf(stored);
  if (sent !== stored) release(stored);
  return sent;
}

/**
 * Aborts when the client has gone, but not at the admission timeout: the message waits on the disk
 * behind other mail that makes progress, and RFC 5321 §4.5.3.2.6 has the client wait for ten
 * minutes.
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

/** Releases memory at once: large messages would fill it before a collection. */
function release({ buffer, byteLength }: Uint8Array): void {
  // A view of a part of a buffer shares it with others.
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

function parts(recipients: readonly string[]): string[][] {
  const count = Math.ceil(recipients.length / maxRecipients);
  return Array.from({ length: count }, (_, index) =>
    recipients.slice(index * maxRecipients, (index + 1) * maxRecipients),
  );
}
