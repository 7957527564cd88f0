/**
 * The states of a delivery as pure functions: what to do with a leased delivery, and what follows
 * from an attempt for the delivery and its recipients. No clock, no randomness, no database.
 *
 * Invariants: within a cycle, a delivered or refused recipient is never sent to again. A failure of
 * the route spends no attempt. A delivery ends when no recipient is `pending` or `deferred`, or
 * when it has no retry left; it is `done` only if no recipient has failed. In doubt: its final dot
 * may have been sent, and no reply is stored.
 */
import type { RecipientOutcome, Reply } from "../../mail/index.ts";
import { type Random, type RetryPolicy, retryDelayMs } from "./retry.ts";
import type {
  ClaimedDelivery,
  Completion,
  DeliveryState,
  EventType,
  KeptReply,
  Lease,
  NewAttempt,
  NewEvent,
  Next,
  RecipientChange,
  RecipientRow,
  RecipientStatus,
  Release,
} from "./rows.ts";

/** After this many crashed workers in a row a delivery moves to the lane where each is alone. */
export const QUARANTINE_CRASHES = 3;
/** After this many crashed workers in a row a delivery is dead. */
export const POISON_CRASHES = 5;

/** Prefix of the reason of a delivery that was refused for good. */
export const PERMANENT_PREFIX = "permanent: ";

/** Prefix of the reason of a delivery whose next attempt would start after its expiry. */
const expiredPrefix = "expired: ";

const noReplyToDot = "its final dot may have been sent, and no reply was recorded";

/** Tells whether hooks receive events of a type. */
export type Notify = (type: EventType) => boolean;

/** The decision about a delivery that was just leased. */
export type Plan =
  | { readonly kind: "send"; readonly recipients: readonly RecipientRow[] }
  | { readonly kind: "release"; readonly release: Release }
  | { readonly kind: "complete"; readonly completion: Completion; readonly reason: string };

/**
 * Decides before any attempt whether a leased delivery is held in doubt, ended (expired, or poison:
 * too many crashed workers), moved to quarantine, or sent.
 */
export function planOf(claimed: ClaimedDelivery, notify: Notify): Plan {
  const recipients = claimed.recipients.filter(isUndecided);
  if (claimed.inDoubt && claimed.doubtPolicy === "hold") {
    return closeAs({ kind: "in_doubt" }, noReplyToDot, claimed, notify);
  }
  const deadReason = reasonToGiveUp(claimed);
  if (deadReason !== undefined) {
    return closeAs({ kind: "dead", reason: deadReason }, deadReason, claimed, notify);
  }
  if (recipients.length === 0) {
    const failed = claimed.recipients.find(({ status }) => status === "failed");
    const reason = failed ? PERMANENT_PREFIX + errorOf(failed.reply) : "every recipient is decided";
    return closeAs(failed ? { kind: "dead", reason } : { kind: "done" }, reason, claimed, notify);
  }
  if (claimed.crashes >= QUARANTINE_CRASHES && claimed.lane !== "quarantine") {
    return { kind: "release", release: { ...leaseOf(claimed), delayMs: 0, lane: "quarantine" } };
  }
  return { kind: "send", recipients };
}

/** Why a delivery is dead without another attempt, if it is. */
function reasonToGiveUp(claimed: ClaimedDelivery): string | undefined {
  const { crashes, expiresInMs, inDoubt, lastReply, recipients } = claimed;
  if (crashes >= POISON_CRASHES) {
    return `poison: ${crashes} workers in a row ended while they held its lease`;
  }
  if (expiresInMs > 0) return undefined;
  if (inDoubt) return expiredPrefix + noReplyToDot;
  const deferred = recipients.findLast(({ reply, status }) => reply && status === "deferred");
  const last = deferred?.reply ?? lastReply;
  return expiredPrefix + (last ? replyLine(last) : "it was never tried");
}

function closeAs(
  next: Exclude<Next, { kind: "retry" }>,
  reason: string,
  claimed: ClaimedDelivery,
  notify: Notify,
): Plan {
  const data = { ...subjectOf(claimed), reason, error: reason };
  const completion: Completion = {
    ...leaseOf(claimed),
    recipients: [],
    next,
    closesDoubt: claimed.inDoubt,
    events: [event(`delivery.${next.kind}`, notify, data)],
  };
  return { kind: "complete", completion, reason };
}

/** The inputs of a judgement beside the delivery and the outcomes; all come from the worker. */
export interface Judgement {
  readonly policy: RetryPolicy;
  /** Most attempts of a cycle; without it only the expiry ends the retries. */
  readonly maxAttempts?: number | undefined;
  readonly random: Random;
  readonly notify: Notify;
  readonly worker: string;
  /** Time from the claim to the end of the attempt; with the delay it must end before expiry. */
  readonly sinceClaimMs: number;
  /** Duration of the attempt. */
  readonly elapsedMs: number;
}

/** The result of an attempt, for the store and for the log. */
export type Verdict =
  /** The route failed and decided nothing: release the lease, block the route, spend no attempt. */
  | { readonly kind: "route"; readonly release: Release; readonly reply: KeptReply }
  | { readonly kind: "sent"; readonly completion: Completion; readonly cycleAttempt: number }
  | {
      readonly kind: "retry";
      readonly completion: Completion;
      readonly cycleAttempt: number;
      readonly delayMs: number;
      readonly error: string;
      /** The reply to block the route for, if it failed for some of the recipients. */
      readonly routeReply?: KeptReply | undefined;
    }
  /** The reply to the final dot was lost, and the policy forbids a second copy. */
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
      /** The last reply as text. */
      readonly error: string;
      /** `error` with its prefix, as the dead letter shows it. */
      readonly reason: string;
    };

/**
 * Judges an attempt by its outcomes, one for each recipient of the plan, in order.
 *
 * A recipient is refused for good by a `failed` outcome whose scope is not the route. A delivery
 * has no retry left when its attempts are spent, or when its next one would start after its expiry.
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
  const doubt = outcomes.find((outcome) => outcome.kind !== "delivered" && outcome.inDoubt);
  const via = outcomes.find((outcome) => outcome.via !== undefined)?.via;
  const attempt: NewAttempt = {
    ...attemptOf(changes, open, spends, judgement),
    ...(doubt && { outcome: "in_doubt" }),
    via: via === undefined ? undefined : keptText(via, 200),
  };
  const cycleAttempt = claimed.cycleAttempts + (spends ? 1 : 0);
  const judged: Judged = {
    claimed,
    after,
    open,
    spends,
    cycleAttempt,
    base: completionOf(claimed, changes, attempt),
    subject: { ...subjectOf(claimed), cycleAttempt },
  };
  if (doubt && claimed.doubtPolicy === "hold") return heldFor(doubt.reply, judged, judgement);
  return (
    retryOf(judged, judgement, routeReply && keptReply(routeReply)) ?? endOf(judged, judgement)
  );
}

/** The values that the parts of a judgement share. */
interface Judged {
  readonly claimed: ClaimedDelivery;
  /** All recipients, as they are after the attempt. */
  readonly after: readonly RecipientRow[];
  /** The undecided recipients of `after`. */
  readonly open: readonly RecipientRow[];
  readonly spends: boolean;
  readonly cycleAttempt: number;
  /** The completion without its end. */
  readonly base: Omit<Completion, "next" | "events">;
  /** The data about the delivery in each event of the attempt. */
  readonly subject: NewEvent["data"];
}

function heldFor(lost: Reply, judged: Judged, { notify }: Judgement): Verdict {
  const { base, subject, cycleAttempt } = judged;
  const error = replyLine(keptReply(lost));
  const events = [event("delivery.in_doubt", notify, { ...subject, reason: error, error })];
  const completion: Completion = { ...base, next: { kind: "in_doubt" }, events };
  return { kind: "held", completion, cycleAttempt, error };
}

/** The retry of an undecided delivery; `undefined` if it has none left. */
function retryOf(
  judged: Judged,
  judgement: Judgement,
  routeReply: KeptReply | undefined,
): Verdict | undefined {
  const { claimed, open, base, subject, cycleAttempt } = judged;
  if (open.length === 0 || isSpent(judged, judgement)) return undefined;
  const reply = open.findLast(({ status }) => status === "deferred")?.reply;
  const delayMs = retryDelayMs(judgement.policy, cycleAttempt, judgement.random, reply);
  if (judgement.sinceClaimMs + delayMs >= claimed.expiresInMs) return undefined;
  const error = errorOf(reply);
  const events = [event("delivery.deferred", judgement.notify, { ...subject, error, delayMs })];
  const completion: Completion = { ...base, next: { kind: "retry", delayMs }, events };
  return { kind: "retry", completion, cycleAttempt, delayMs, error, routeReply };
}

/** The end of a delivery without a retry: sent, or dead if a recipient failed or is undecided. */
function endOf(judged: Judged, judgement: Judgement): Verdict {
  const { after, open, base, subject, cycleAttempt } = judged;
  const { notify } = judgement;
  const failed = open.at(-1) ?? after.findLast(({ status }) => status === "failed");
  if (failed === undefined) {
    const events = [event("delivery.done", notify, { ...subject, recipients: results(after) })];
    const completion: Completion = { ...base, next: { kind: "done" }, events };
    return { kind: "sent", completion, cycleAttempt };
  }
  const permanent = open.length === 0;
  const exhausted = isSpent(judged, judgement) ? "" : expiredPrefix;
  const error = errorOf(failed.reply);
  const reason = (permanent ? PERMANENT_PREFIX : exhausted) + error;
  const facts = { ...subject, error, reason, permanent, recipients: results(after) };
  const events = [event("delivery.dead", notify, facts)];
  const completion: Completion = { ...base, next: { kind: "dead", reason }, events };
  return { kind: "dead", completion, cycleAttempt, permanent, error, reason };
}

/** Whether the attempt was the last that the cycle allows. */
function isSpent({ spends, cycleAttempt }: Judged, { maxAttempts }: Judgement): boolean {
  return spends && maxAttempts !== undefined && cycleAttempt >= maxAttempts;
}

/** Tells whether a recipient has no final outcome yet. */
export function isUndecided({ status }: Pick<RecipientRow, "status">): boolean {
  return status === "pending" || status === "deferred";
}

/**
 * The state of a delivery after a late success (one under a lease that was lost), and the event of
 * that change; `undefined` if the success neither ends nor changes the delivery.
 */
export function endByFacts(
  statuses: ReadonlySet<RecipientStatus>,
  before: DeliveryState,
): { state: "done" | "dead"; event: EventType } | undefined {
  const undecided = statuses.has("pending") || statuses.has("deferred");
  const state = statuses.has("failed") ? "dead" : "done";
  if (undecided || state === before) return undefined;
  const hadEnded = before !== "pending" && before !== "in_doubt";
  if (hadEnded) return state === "done" ? { state, event: "delivery.late" } : undefined;
  return { state, event: `delivery.${state}` };
}

/** Makes a reply fit for storage: no control characters, well-formed, at most 500 characters. */
export function keptReply({ code, enhanced, text, phase }: Reply): KeptReply {
  return { code, enhanced, text: keptText(text, 500), phase };
}

function keptText(text: string, maxLength: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: databases and terminals fail on them.
  const plain = text.toWellFormed().replace(/[\x00-\x1f\x7f]+/g, " ");
  return plain.slice(0, maxLength).toWellFormed();
}

/** A reply as one line: `550 5.1.1 No such user`. */
export function replyLine({ code, enhanced, text }: KeptReply): string {
  return [code, enhanced, text].filter((part) => part !== undefined && part !== "").join(" ");
}

function errorOf(reply: KeptReply | undefined): string {
  return reply ? replyLine(reply) : "the route failed";
}

/** Whether the route failed before the dot; a failure after it is a doubt about the message. */
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
    reply: deciding?.reply,
  };
}

function completionOf(
  claimed: ClaimedDelivery,
  recipients: readonly RecipientChange[],
  attempt: NewAttempt,
): Omit<Completion, "next" | "events"> {
  const lease = leaseOf(claimed);
  return { ...lease, attempt, recipients, closesDoubt: claimed.inDoubt };
}

function leaseOf({ delivery, token }: ClaimedDelivery): Lease {
  return { delivery, token };
}

function subjectOf({ id, messageId, template, route, cycle }: ClaimedDelivery) {
  return { deliveryId: id, messageId, template, route, cycle };
}

function results(recipients: readonly RecipientRow[]): Readonly<Record<string, unknown>>[] {
  return recipients.map(({ address, status, reply }) => ({
    address,
    status,
    reply: reply && replyLine(reply),
  }));
}

function event(type: EventType, notify: Notify, data: NewEvent["data"]): NewEvent {
  return { type, data, notify: notify(type) };
}
