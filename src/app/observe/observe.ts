/**
 * Turns the events of the SMTP server, local delivery and the executor into log lines and metrics:
 * one line for each accepted message, each refusal and each failure. Called by inbound/engine.ts.
 */

import type { DeliveryEvent, LocalDeliveryEvent } from "../../delivery/index.ts";
import { formatReply, type RecipientOutcome, type StoredCopy } from "../../mail/index.ts";
import type { SessionInfo, SmtpEvent } from "../../smtp/index.ts";
import { errnoOf } from "../../system/index.ts";
import { errorFields } from "../errors.ts";
import type { HealthMonitor } from "./health.ts";
import type { JournalWatch } from "./journal-status.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";

export interface Observer {
  readonly onSmtpEvent: (event: SmtpEvent) => void;
  readonly onLocalDeliveryEvent: (event: LocalDeliveryEvent) => void;
  readonly onDeliveryEvent: (event: DeliveryEvent) => void;
}

export interface ObserverOptions {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly health: Pick<HealthMonitor, "stored" | "storageFailed">;
  readonly journal: Pick<JournalWatch, "onEvent">;
  /**
   * Called once when the disk thread died. It must end the process before a message in progress is
   * answered, because it is unknown whether that message is durable.
   */
  readonly onDiskThreadDeath: (cause: unknown) => void;
}

export function observe(options: ObserverOptions): Observer {
  return {
    onSmtpEvent: (event) => onSmtpEvent(event, options),
    onLocalDeliveryEvent: (event) => onLocalDeliveryEvent(event, options),
    onDeliveryEvent: (event) => onDeliveryEvent(event, options),
  };
}

function onSmtpEvent(event: SmtpEvent, { log, metrics }: ObserverOptions): void {
  switch (event.kind) {
    case "accepted":
      onAnswered(event, log, metrics);
      break;
    case "refused": {
      const { session, reply, recipient: to } = event;
      metrics.refusals.inc({ protocol: session.protocol, code: reply.code });
      log.info({ ...client(session), to, reply: formatReply(reply) }, "request refused");
      break;
    }
    case "limit": {
      const { limit, reply, session, clientAddress } = event;
      metrics.refusals.inc({ protocol: session?.protocol ?? "any", code: reply.code });
      const who = session ? client(session) : { client: clientAddress };
      log.warn({ ...who, limit, reply: formatReply(reply) }, "limit reached");
      break;
    }
    case "aborted": {
      const { session, received } = event;
      log.info({ ...client(session), received }, "client disconnected during DATA");
      break;
    }
    case "error": {
      const { during, session, error } = event;
      // An error of listen(2) also rejects the start of the listener, whose caller reports it.
      if ((error as NodeJS.ErrnoException).syscall === "listen") break;
      const facts = { ...(session && client(session)), during, ...errorFields(error) };
      log.error(facts, "mail server error; the server continues");
      break;
    }
    case "connected":
      log.debug(client(event.session), "client connected");
      break;
    case "disconnected": {
      const forMs = rounded(event.durationMs);
      log.debug({ ...client(event.session), forMs }, "client disconnected");
      break;
    }
    default:
      event satisfies never;
  }
}

function onAnswered(
  event: Extract<SmtpEvent, { kind: "accepted" }>,
  log: Logger,
  metrics: Metrics,
): void {
  const { session, envelope, size, outcomes, isAnswered } = event;
  const copies = outcomes.flatMap(
    (outcome) => (outcome.kind === "delivered" && outcome.copy) || [],
  );
  const isAccepted = outcomes.some(({ kind }) => kind === "delivered");
  const isDeferred = outcomes.some(({ kind }) => kind === "deferred");
  const outcome = isAccepted ? "accepted" : isDeferred ? "deferred" : "failed";
  metrics.messages.inc({ protocol: session.protocol, outcome });
  for (const { kind } of outcomes) metrics.recipients.inc({ outcome: kind });
  const refused = refusalsOf(envelope.recipients, outcomes);
  const facts = {
    ...client(session),
    from: envelope.reversePath,
    to: envelope.recipients,
    size,
    mailbox: copies.map(({ mailbox }) => mailbox),
    batch: highest(copies, ({ batchSize }) => batchSize),
    durableMs: rounded(highest(copies, ({ durableMs }) => durableMs)),
    totalMs: rounded(event.durationMs),
    refused: refused.length > 0 ? refused : undefined,
    answered: isAnswered ? undefined : false,
  };
  if (outcome === "failed") log.warn(facts, "message refused");
  else if (outcome === "deferred") log.warn(facts, "message deferred");
  else log[refused.length === 0 ? "info" : "warn"](facts, "message accepted");
}

/** The recipients that were deferred or refused after the message, each with its reply. */
function refusalsOf(
  recipients: readonly string[],
  outcomes: readonly RecipientOutcome[],
): readonly string[] {
  return recipients.flatMap((recipient, position) => {
    const outcome = outcomes[position];
    if (outcome === undefined || outcome.kind === "delivered") return [];
    return [`${recipient} ${formatReply(outcome.reply)}`];
  });
}

function onLocalDeliveryEvent(
  event: LocalDeliveryEvent,
  { log, metrics, health }: ObserverOptions,
): void {
  if (event.kind === "delivered") {
    health.stored();
    metrics.durable.observe(event.copy.durableMs / 1000);
    metrics.bytes.inc(event.size);
    return;
  }
  const { recipient, mailbox, error } = event;
  const errno = errnoOf(error);
  metrics.faults.inc({ errno: errno ?? "none" });
  if (errno !== undefined && isOfTheDisk(errno)) health.storageFailed(error);
  log.error(
    { to: recipient, mailbox, ...errorFields(error) },
    "mailbox delivery failed; the recipient is deferred",
  );
}

function onDeliveryEvent(
  event: DeliveryEvent,
  { log, metrics, journal, onDiskThreadDeath }: ObserverOptions,
): void {
  if (event.kind !== "flushed") {
    if (event.kind === "disk-thread-died") onDiskThreadDeath(event.cause);
    else journal.onEvent(event);
    return;
  }
  metrics.flush.observe(event.durationMs / 1000);
  metrics.batch.observe(event.messages);
  const { messages, failed, mailboxes, bytes } = event;
  const tookMs = rounded(event.durationMs);
  log.debug({ messages, failed, mailboxes, bytes, tookMs }, "batch flushed");
}

/** Distinguishes errors of the disk from errors of one mailbox: a file in its place, a quota. */
function isOfTheDisk(errno: string): boolean {
  return ["EIO", "ENOSPC", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "EUCLEAN"].includes(errno);
}

function client({ id, protocol, clientAddress, helo }: SessionInfo) {
  return { session: id, protocol, client: clientAddress, helo };
}

function highest(copies: readonly StoredCopy[], figure: (copy: StoredCopy) => number): number {
  return copies.reduce((largest, copy) => Math.max(largest, figure(copy)), 0);
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
