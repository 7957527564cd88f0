/**
 * The states of a delivery as plain functions: what to do with one that was leased, and what becomes
 * of it and of its recipients after an attempt. No clock, no chance and no database in here.
 *
 * Invariants: a recipient that was delivered or refused for good is never sent to again; what says
 * nothing about the message (a route's failure) spends no attempt; a delivery is over exactly when no
 * recipient is `pending` or `deferred`, and it is `done` only if none has failed.
 */
import type { RecipientOutcome, Reply } from "../../mail/index.ts";
import { type Random, type RetryPolicy, retryDelayMs } from "./retry.ts";
import type {
  ClaimedDelivery,
  Completion,
  DeliveryState,
  EventType,
  KeptReply,
  NewAttempt,
  NewEvent,
  RecipientChange,
  RecipientRow,
  RecipientStatus,
  Release,
} from "./rows.ts";

/** From so many vanished workers in a row a delivery is leased alone. */
export const QUARANTINE_CRASHES = 3;
/** From so many it is dead. */
export const POISON_CRASHES = 5;

/** What every dead letter of a permanent refusal starts with. */
export const PERMANENT_PREFIX = "permanent: ";

/** What one starts with whose next attempt would come too late. */
const EXPIRED_PREFIX = "expired: ";

const NO_REPLY_TO_DOT = "its final dot may have been sent, and no reply was recorded";

/** Which events hooks are to hear of. */
export type Notify = (type: EventType) => boolean;

/** What to do with a delivery that was just leased. */
export type Plan =
  | { readonly kind: "send"; readonly recipients: readonly RecipientRow[] }
  | { readonly kind: "release"; readonly release: Release }
  | { readonly kind: "complete"; readonly completion: Completion; readonly reason: string };

/** Decides from the lease alone: poison, quarantine, doubt and expiry come before any attempt. */
export function planOf(claimed: ClaimedDelivery, notify: Notify): Plan {
  const recipients = claimed.recipients.filter(isUndecided);
  if (claimed.inDoubt && claimed.doubtPolicy === "hold") {
    return close(claimed, { kind: "in_doubt" }, "delivery.in_doubt", NO_REPLY_TO_DOT, notify);
  }
  const because = deadBefore(claimed);
  if (because !== undefined) {
    return close(claimed, { kind: "dead", reason: because }, "delivery.dead", because, notify);
  }
  if (recipients.length === 0) {
    const failed = claimed.recipients.find(({ status }) => status === "failed");
    const reason = failed ? PERMANENT_PREFIX + errorOf(failed.reply) : "every recipient is decided";
    return failed
      ? close(claimed, { kind: "dead", reason }, "delivery.dead", reason, notify)
      : close(claimed, { kind: "done" }, "delivery.done", reason, notify);
  }
  if (claimed.crashes >= QUARANTINE_CRASHES && claimed.lane !== "quarantine") {
    return { kind: "release", release: { ...leaseOf(claimed), delayMs: 0, lane: "quarantine" } };
  }
  return { kind: "send", recipients };
}

function deadBefore(claimed: ClaimedDelivery): string | undefined {
  const { crashes, expiresInMs, inDoubt, lastReply, recipients } = claimed;
  if (crashes >= POISON_CRASHES) {
    return `poison: ${crashes} workers in a row ended while they had it`;
  }
  if (expiresInMs > 0) return undefined;
  if (inDoubt) return EXPIRED_PREFIX + NO_REPLY_TO_DOT;
  const deferred = recipients.findLast(({ reply, status }) => reply && status === "deferred");
  const last = deferred?.reply ?? lastReply;
  return EXPIRED_PREFIX + (last ? replyLine(last) : "it was never tried");
}

function close(
  claimed: ClaimedDelivery,
  next: Completion["next"],
  type: EventType,
  reason: string,
  notify: Notify,
): Plan {
  const completion: Completion = {
    ...leaseOf(claimed),
    recipients: [],
    next,
    ...(claimed.inDoubt ? { closesDoubt: true } : {}),
    events: [event(type, notify, { ...subjectOf(claimed), reason, error: reason })],
  };
  return { kind: "complete", completion, reason };
}

/** What an attempt is judged by. */
export interface Judgement {
  readonly policy: RetryPolicy;
  /** Attempts per cycle; without it only age ends the tries. */
  readonly maxAttempts?: number | undefined;
  readonly random: Random;
  readonly notify: Notify;
  readonly worker: string;
  /** From the claim to the start of the attempt's end, as expiry counts it. */
  readonly sinceClaimMs: number;
  /** Duration of the attempt. */
  readonly elapsedMs: number;
}

/** What became of it, for the store and for the log. */
export type Verdict =
  /** The route failed and nothing was decided: give it back, block the route, spend nothing. */
  | { readonly kind: "route"; readonly release: Release; readonly reply: KeptReply }
  | { readonly kind: "sent"; readonly completion: Completion; readonly cycleAttempt: number }
  | {
      readonly kind: "retry";
      readonly completion: Completion;
      readonly cycleAttempt: number;
      readonly delayMs: number;
      readonly error: string;
      /** Why the route is to be blocked, if part of the recipients failed because of it. */
      readonly routeReply?: KeptReply;
    }
  /** The reply to the final dot was lost, and it is not to be sent twice. */
  | {
      readonly kind: "held";
      readonly completion: Completion;
      readonly cycleAttempt: number;
      readonly error: string;
    }
  | {
      readonly kind: "dead";
      readonly completion: Completion;
      readonly cycleAttempt: number;
      readonly permanent: boolean;
      /** The last reply in words. */
      readonly error: string;
      /** The same with its prefix: what the dead letter says. */
      readonly reason: string;
    };

/**
 * Judges an attempt by its outcomes, one for each recipient of the plan, in order.
 *
 * Failed for good are recipients with a `failed` outcome that is not the route's; exhausted is a
 * delivery whose attempts are spent, or whose next attempt would start after it has expired.
 */
export function judge(
  claimed: ClaimedDelivery,
  tried: readonly RecipientRow[],
  outcomes: readonly RecipientOutcome[],
  judgement: Judgement,
): Verdict {
  const changes = changesOf(tried, outcomes);
  const routeReply = outcomes.find(isRouteFault)?.reply;
  if (changes.length === 0 && routeReply) {
    const reply = keptReply(routeReply);
    return { kind: "route", release: { ...leaseOf(claimed), delayMs: 0, reply }, reply };
  }
  const after = withChanges(claimed.recipients, changes);
  const open = after.filter(isUndecided);
  const spends = open.length === 0 || changes.some(({ status }) => status !== "delivered");
  const cycleAttempt = claimed.cycleAttempts + (spends ? 1 : 0);
  const doubt = outcomes.find((outcome) => outcome.kind !== "delivered" && outcome.inDoubt);
  const attempt = attemptOf(changes, open, spends, judgement);
  const via = outcomes.find((outcome) => outcome.via !== undefined)?.via;
  const recorded: NewAttempt = {
    ...attempt,
    ...(doubt && { outcome: "in_doubt" }),
    ...(via !== undefined && { via: keptText(via, 200) }),
  };
  const base = completionOf(claimed, changes, recorded);
  const { notify } = judgement;
  const subject = { ...subjectOf(claimed), cycleAttempt };

  if (doubt && claimed.doubtPolicy === "hold") {
    const error = replyLine(keptReply(doubt.reply));
    const events = [event("delivery.in_doubt", notify, { ...subject, reason: error, error })];
    const completion: Completion = { ...base, next: { kind: "in_doubt" }, events };
    return { kind: "held", completion, cycleAttempt, error };
  }

  const { maxAttempts } = judgement;
  const spent = spends && maxAttempts !== undefined && cycleAttempt >= maxAttempts;
  if (open.length > 0) {
    const reply = open.findLast(({ status }) => status === "deferred")?.reply;
    const delayMs = retryDelayMs(judgement.policy, cycleAttempt, judgement.random, reply);
    const error = errorOf(reply);
    const outlived = judgement.sinceClaimMs + delayMs >= claimed.expiresInMs;
    if (!spent && !outlived) {
      const events = [event("delivery.deferred", notify, { ...subject, error, delayMs })];
      return {
        kind: "retry",
        completion: { ...base, next: { kind: "retry", delayMs }, events },
        cycleAttempt,
        delayMs,
        error,
        ...(routeReply ? { routeReply: keptReply(routeReply) } : {}),
      };
    }
  }

  return endOf(after, { base, subject, notify, isExhausted: spent });
}

/** The end of a delivery: sent if no recipient has failed or is left undecided, dead otherwise. */
function endOf(
  recipients: readonly RecipientRow[],
  { base, subject, notify, isExhausted }: Ending,
): Verdict {
  const { cycleAttempt } = subject;
  const open = recipients.findLast(isUndecided);
  const failed = open ?? recipients.findLast(({ status }) => status === "failed");
  if (failed === undefined) {
    const facts = { ...subject, recipients: results(recipients) };
    const events = [event("delivery.done", notify, facts)];
    return { kind: "sent", completion: { ...base, next: { kind: "done" }, events }, cycleAttempt };
  }
  const permanent = open === undefined;
  const prefix = permanent ? PERMANENT_PREFIX : isExhausted ? "" : EXPIRED_PREFIX;
  const error = errorOf(failed.reply);
  const reason = prefix + error;
  const facts = { ...subject, error, reason, permanent, recipients: results(recipients) };
  const completion: Completion = {
    ...base,
    next: { kind: "dead", reason },
    events: [event("delivery.dead", notify, facts)],
  };
  return { kind: "dead", completion, cycleAttempt, permanent, error, reason };
}

interface Ending {
  readonly base: Omit<Completion, "next" | "events">;
  readonly subject: NewEvent["data"] & { readonly cycleAttempt: number };
  readonly notify: Notify;
  /** The attempts of the cycle are spent. */
  readonly isExhausted: boolean;
}

/** Tells whether a recipient is still to be sent to. */
export function isUndecided({ status }: Pick<RecipientRow, "status">): boolean {
  return status === "pending" || status === "deferred";
}

/** What a delivery is once a late success is recorded; `undefined` if that does not end or change it. */
export function endByFacts(
  statuses: ReadonlySet<RecipientStatus>,
  before: DeliveryState,
): { state: "done" | "dead"; event: EventType } | undefined {
  const undecided = statuses.has("pending") || statuses.has("deferred");
  const state = statuses.has("failed") ? "dead" : "done";
  if (undecided || state === before) return undefined;
  const open = before === "pending" || before === "in_doubt";
  if (!open) return state === "done" ? { state, event: "delivery.late" } : undefined;
  return { state, event: `delivery.${state}` };
}

/** Cuts a reply to what is kept: no control characters, well-formed, 500 characters. */
export function keptReply({ code, enhanced, text, phase }: Reply): KeptReply {
  const cut = keptText(text, 500);
  return { code, ...(enhanced === undefined ? {} : { enhanced }), text: cut, phase };
}

function keptText(text: string, most: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a database or a terminal chokes on them.
  const plain = text.toWellFormed().replace(/[\x00-\x1f\x7f]+/g, " ");
  return plain.slice(0, most).toWellFormed();
}

/** A reply in one line: `550 5.1.1 No such user`. */
export function replyLine({ code, enhanced, text }: KeptReply): string {
  return [code, enhanced, text].filter((part) => part !== undefined && part !== "").join(" ");
}

function errorOf(reply: KeptReply | undefined): string {
  return reply ? replyLine(reply) : "the route failed";
}

/** What may have been taken is the message's business, whatever broke. */
function isRouteFault(outcome: RecipientOutcome): outcome is RecipientOutcome & { scope: "route" } {
  return outcome.kind !== "delivered" && outcome.scope === "route" && !outcome.inDoubt;
}

function changesOf(
  tried: readonly RecipientRow[],
  outcomes: readonly RecipientOutcome[],
): RecipientChange[] {
  return outcomes.flatMap((outcome, index): RecipientChange[] => {
    const recipient = tried[index];
    if (recipient === undefined || isRouteFault(outcome)) return [];
    const { kind: status, reply } = outcome;
    return [{ ordinal: recipient.ordinal, status, reply: keptReply(reply) }];
  });
}

function withChanges(
  recipients: readonly RecipientRow[],
  changes: readonly RecipientChange[],
): RecipientRow[] {
  const byOrdinal = new Map(changes.map((change) => [change.ordinal, change]));
  return recipients.map((recipient) => ({ ...recipient, ...byOrdinal.get(recipient.ordinal) }));
}

function attemptOf(
  changes: readonly RecipientChange[],
  open: readonly RecipientRow[],
  spends: boolean,
  { worker, elapsedMs }: Judgement,
): NewAttempt {
  const delivered = changes.filter(({ status }) => status === "delivered").length;
  const whole = delivered === changes.length && !(open.length > 0);
  const none = open.length > 0 ? "deferred" : "failed";
  const outcome = whole ? "delivered" : delivered > 0 ? "partial" : none;
  const deciding = changes.findLast(({ status }) => status !== "delivered") ?? changes.at(-1);
  return {
    worker,
    elapsedMs,
    outcome,
    spends,
    ...(deciding ? { reply: deciding.reply } : {}),
  };
}

function completionOf(
  claimed: ClaimedDelivery,
  recipients: readonly RecipientChange[],
  attempt: NewAttempt,
): Omit<Completion, "next" | "events"> {
  const lease = leaseOf(claimed);
  return { ...lease, attempt, recipients, ...(claimed.inDoubt ? { closesDoubt: true } : {}) };
}

function leaseOf({ delivery, token }: ClaimedDelivery): { delivery: number; token: number } {
  return { delivery, token };
}

function subjectOf({ id, messageId, template, route, cycle }: ClaimedDelivery) {
  return {
    deliveryId: id,
    messageId,
    ...(template === undefined ? {} : { template }),
    route,
    cycle,
  };
}

function results(recipients: readonly RecipientRow[]): Readonly<Record<string, unknown>>[] {
  return recipients.map(({ address, status, reply }) => ({
    address,
    status,
    ...(reply ? { reply: replyLine(reply) } : {}),
  }));
}

function event(type: EventType, notify: Notify, data: NewEvent["data"]): NewEvent {
  return { type, data, notify: notify(type) };
}
