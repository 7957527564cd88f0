/**
 * Turns what the rooms report into log lines and metrics: one line for each accepted message, one for
 * each refusal and each fault, and figures for all of them.
 */
import type { DeliveryEvent, LocalDeliveryEvent } from "../../delivery/index.ts";
import { formatReply, type RecipientOutcome, type StoredCopy } from "../../mail/index.ts";
import type { SessionInfo, SmtpEvent } from "../../smtp/index.ts";
import { errnoOf, why } from "../errors.ts";
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
  /** Called when messages are in doubt; must end the process before anything is answered for them. */
  readonly onDiskThreadDeath: (cause: unknown) => void;
}

export function observe(options: ObserverOptions): Observer {
  const { log, metrics, health, journal, onDiskThreadDeath } = options;
  function onAnswered(event: Extract<SmtpEvent, { kind: "accepted" }>): void {
    const { session, envelope, size, outcomes, isAnswered } = event;
    const copies = outcomes.flatMap(
      (outcome) => (outcome.kind === "delivered" && outcome.copy) || [],
    );
    const isTaken = outcomes.some(({ kind }) => kind === "delivered");
    const outcome = isTaken ? "accepted" : outcomes.some(isDeferred) ? "deferred" : "failed";
    metrics.messages.inc({ protocol: session.protocol, outcome });
    for (const { kind } of outcomes) metrics.recipients.inc({ outcome: kind });
    const refused = envelope.recipients.flatMap((recipient, position) => {
      const given = outcomes[position];
      if (given === undefined || given.kind === "delivered") return [];
      return [`${recipient} ${formatReply(given.reply)}`];
    });
    const facts = {
      ...who(session),
      from: envelope.reversePath,
      to: envelope.recipients,
      size,
      mailbox: copies.map(({ mailbox }) => mailbox),
      batch: most(copies, ({ batchSize }) => batchSize),
      durableMs: rounded(most(copies, ({ durableMs }) => durableMs)),
      totalMs: rounded(event.durationMs),
      ...(refused.length > 0 && { refused }),
      ...(!isAnswered && { answered: false }),
    };
    if (refused.length === 0) log.info(facts, outcome);
    else log.warn(facts, outcome);
  }

  return {
    onSmtpEvent(event) {
      switch (event.kind) {
        case "accepted":
          return onAnswered(event);
        case "refused": {
          const { session, reply, recipient } = event;
          metrics.refusals.inc({ protocol: session.protocol, code: reply.code });
          const to = recipient === undefined ? {} : { to: recipient };
          return log.info({ ...who(session), ...to, reply: formatReply(reply) }, "refused");
        }
        case "limit": {
          const { limit, reply, session, clientAddress } = event;
          metrics.refusals.inc({ protocol: session?.protocol ?? "any", code: reply.code });
          const client = session ? who(session) : { client: clientAddress };
          return log.warn({ ...client, limit, reply: formatReply(reply) }, "limit reached");
        }
        case "aborted":
          return log.info({ ...who(event.session), received: event.received }, "broken off");
        case "error": {
          // What keeps a listener from starting is thrown as well, and told once.
          if ((event.error as NodeJS.ErrnoException).syscall === "listen") return;
          const session = event.session ? who(event.session) : {};
          return log.error({ ...session, during: event.during, ...why(event.error) }, "fault");
        }
        case "connected":
          return log.debug(who(event.session), "connected");
        case "disconnected":
          return log.debug(
            { ...who(event.session), forMs: rounded(event.durationMs) },
            "disconnected",
          );
        default:
          event satisfies never;
      }
    },

    onLocalDeliveryEvent(event) {
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
      log.error({ to: recipient, mailbox, ...why(error) }, "not stored");
    },

    onDeliveryEvent(event) {
      if (event.kind === "disk-thread-died") return onDiskThreadDeath(event.cause);
      if (event.kind !== "flushed") return journal.onEvent(event);
      metrics.flush.observe(event.durationMs / 1000);
      metrics.batch.observe(event.messages);
      const { messages, failed, mailboxes, bytes } = event;
      log.debug(
        { messages, failed, mailboxes, bytes, tookMs: rounded(event.durationMs) },
        "flushed",
      );
    },
  };
}

/** Faults of one mailbox (a file in its place, a quota) say nothing about the disk. */
function isOfTheDisk(errno: string): boolean {
  return ["EIO", "ENOSPC", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "EUCLEAN"].includes(errno);
}

function isDeferred({ kind }: RecipientOutcome): boolean {
  return kind === "deferred";
}

function who({ id, protocol, clientAddress, helo }: SessionInfo) {
  return {
    session: id,
    protocol,
    ...(clientAddress !== undefined && { client: clientAddress }),
    ...(helo !== undefined && { helo }),
  };
}

function most(copies: readonly StoredCopy[], figure: (copy: StoredCopy) => number): number {
  return copies.reduce((largest, copy) => Math.max(largest, figure(copy)), 0);
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
