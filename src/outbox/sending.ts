/**
 * Carries one leased delivery from the claim to its durable outcome.
 *
 * Order is everything: nothing is sent that the lease does not cover; the intent is durable before the
 * final dot; the outcome is durable before the lease is let go. What was sent is a fact, even when the
 * lease is somebody else's by then.
 */
import type { Message, RecipientOutcome } from "../mail/index.ts";
import { type Judgement, judge, type Plan, planOf, type Verdict } from "./entry.ts";
import { type HeldLease, LeaseLost, type Leases } from "./leases.ts";
import { outgoingMessage } from "./outgoing.ts";
import { untilDone } from "./patience.ts";
import type { Routes } from "./routes.ts";
import type {
  ClaimedDelivery,
  Completion,
  CompletionResult,
  RecipientRow,
  Release,
} from "./rows.ts";
import type { DeliveryFacts } from "./worker-events.ts";
import type { WorkerSettings } from "./worker-options.ts";

/** What became of a delivery in this worker's hands. */
export type Fate = "sent" | "retry" | "dead" | "held" | "released" | "lost";

export interface Sending {
  readonly settings: WorkerSettings;
  readonly leases: Leases;
  readonly routes: Routes;
  /** Aborts when the worker gives up writing outcomes; what is unwritten then is in doubt. */
  readonly givingUp: AbortSignal;
}

/** Sends a leased delivery, or does what its lease asks for instead. Never throws. */
export async function carry(
  claimed: ClaimedDelivery,
  held: HeldLease,
  claimedMs: number,
  sending: Sending,
): Promise<Fate> {
  const { settings, leases } = sending;
  try {
    const plan = planOf(claimed, settings.notify);
    return await carryOut(plan, claimed, held, claimedMs, sending);
  } catch (error) {
    settings.onEvent({ kind: "store-failed", doing: "complete", error });
    return "lost";
  } finally {
    leases.drop(held);
  }
}

async function carryOut(
  plan: Plan,
  claimed: ClaimedDelivery,
  held: HeldLease,
  claimedMs: number,
  sending: Sending,
): Promise<Fate> {
  switch (plan.kind) {
    case "release":
      return giveBack(plan.release, sending);
    case "complete": {
      const result = await commit(plan.completion, sending);
      return tellClosed(claimed, plan, result, sending);
    }
    case "send": {
      const startedMs = sending.settings.clock.now();
      const outcomes = await attempt(claimed, plan.recipients, held, sending);
      if (outcomes === undefined) return giveBack({ ...leaseOf(claimed), delayMs: 0 }, sending);
      const verdict = judge(
        claimed,
        plan.recipients,
        outcomes,
        judgementOf(sending.settings, claimedMs, startedMs),
      );
      return settle(claimed, verdict, startedMs, sending);
    }
  }
}

/** One attempt: an outcome per recipient, or `undefined` if it ended before anything was at stake. */
async function attempt(
  claimed: ClaimedDelivery,
  recipients: readonly RecipientRow[],
  held: HeldLease,
  sending: Sending,
): Promise<readonly RecipientOutcome[] | undefined> {
  const { settings } = sending;
  const startedMs = settings.clock.now();
  /** Whether the dot may be on its way, or must not be sent at all. */
  let dot: "ahead" | "forbidden" | "announced" = "ahead";
  const beforeCommit = async () => {
    dot = "forbidden";
    await announce(claimed, held, startedMs, sending);
    dot = "announced";
  };
  const envelope = {
    reversePath: claimed.reversePath,
    recipients: recipients.map(({ address }) => address),
  };
  const message = await messageOf(claimed, sending);
  if (message === "unreadable") return undefined;
  if (message === "purged") return all(recipients, bytesGone);
  try {
    const send = settings.senderOf(claimed.route);
    const outcomes = await send(envelope, message, { signal: held.signal, beforeCommit });
    if (outcomes.length === recipients.length) return outcomes;
    throw new Error(`the sender gave ${outcomes.length} outcomes for ${recipients.length}`);
  } catch (error) {
    if (isNow(dot, "announced")) return all(recipients, { ...senderFailed(error), inDoubt: true });
    if (isNow(dot, "forbidden") || held.signal.aborted) return undefined;
    return all(recipients, senderFailed(error));
  }
}

/** The compiler believes that nobody has changed it since. */
const isNow = <T>(state: T, wanted: T): boolean => state === wanted;

/** Makes the intent durable; throws when the dot must not be sent. */
async function announce(
  claimed: ClaimedDelivery,
  held: HeldLease,
  startedMs: number,
  { settings, leases }: Sending,
): Promise<void> {
  const { store, clock, name, intents } = settings;
  if (!leases.isFresh(held)) throw new LeaseLost("too little of the lease is left");
  if (!intents) return;
  const intent = { ...leaseOf(claimed), worker: name, elapsedMs: clock.now() - startedMs };
  const [valid] = await store.intend([intent]);
  if (!valid) throw new LeaseLost("the lease was lost");
  if (!leases.isFresh(held)) throw new LeaseLost("too little of the lease is left");
}

/** The message, unless its bytes are gone for good, or the store does not give them now. */
async function messageOf(
  { bytes, message, messageIdHeader }: ClaimedDelivery,
  { settings: { store, onEvent } }: Sending,
): Promise<Message | "purged" | "unreadable"> {
  try {
    const found = bytes ?? (await store.body(message));
    return found ? outgoingMessage(found, messageIdHeader) : "purged";
  } catch (error) {
    onEvent({ kind: "store-failed", doing: "claim", error });
    return "unreadable";
  }
}

const bytesGone: RecipientOutcome = {
  kind: "failed",
  scope: "message",
  reply: { code: 554, enhanced: "5.3.0", text: "The message was purged", phase: "local" },
};

/** A sender that throws has broken its contract; the mail is not to suffer more than one attempt. */
function senderFailed(
  error: unknown,
): Extract<RecipientOutcome, { readonly kind: "deferred" | "failed" }> {
  const text = error instanceof Error ? error.message : String(error);
  const reply = { code: 451, enhanced: "4.3.0", text, phase: "local" as const };
  return { kind: "deferred", scope: "message", reply };
}

function all(recipients: readonly RecipientRow[], outcome: RecipientOutcome): RecipientOutcome[] {
  return recipients.map(() => outcome);
}

function judgementOf(settings: WorkerSettings, claimedMs: number, startedMs: number): Judgement {
  const { clock, retry, maxAttempts, random, notify, name } = settings;
  const nowMs = clock.now();
  return {
    policy: retry,
    maxAttempts,
    random,
    notify,
    worker: name,
    sinceClaimMs: nowMs - claimedMs,
    elapsedMs: nowMs - startedMs,
  };
}

/** Makes a verdict durable, then tells of it. */
async function settle(
  claimed: ClaimedDelivery,
  verdict: Verdict,
  startedMs: number,
  sending: Sending,
): Promise<Fate> {
  const { settings, routes } = sending;
  if (verdict.kind === "route") {
    await routes.failed(claimed, verdict.reply);
    return giveBack(verdict.release, sending);
  }
  if (verdict.kind === "retry" && verdict.routeReply)
    await routes.failed(claimed, verdict.routeReply);
  const result = await commit(verdict.completion, sending);
  if (!(verdict.kind === "retry" && verdict.routeReply)) await routes.worked(claimed);
  if (result.kind === "lost") {
    const delivered = result.attemptNo !== undefined;
    settings.onEvent({ kind: "lease-lost", deliveryId: claimed.id, delivered });
    return "lost";
  }
  return tell(claimed, verdict, result, startedMs, settings);
}

function tell(
  claimed: ClaimedDelivery,
  verdict: Exclude<Verdict, { kind: "route" }>,
  { attemptNo }: Extract<CompletionResult, { kind: "settled" }>,
  startedMs: number,
  { clock, maxAttempts, onEvent }: WorkerSettings,
): Fate {
  const facts = { ...factsOf(claimed, verdict.cycleAttempt), ...(attemptNo && { attemptNo }) };
  switch (verdict.kind) {
    case "sent":
      onEvent({ kind: "sent", ...facts, durationMs: clock.now() - startedMs });
      return "sent";
    case "retry": {
      const nextAttemptAt = new Date(clock.wallTimeMs() + verdict.delayMs);
      onEvent({ kind: "retry-scheduled", ...facts, nextAttemptAt, error: verdict.error });
      return "retry";
    }
    case "held":
      onEvent({ kind: "held-in-doubt", ...facts, error: verdict.error });
      return "held";
    case "dead": {
      const { permanent, reason } = verdict;
      onEvent({ kind: "dead-lettered", ...facts, maxAttempts, permanent, reason });
      return "dead";
    }
  }
}

/** Tells of a delivery that came to its end without an attempt. */
function tellClosed(
  claimed: ClaimedDelivery,
  { completion, reason }: Extract<Plan, { kind: "complete" }>,
  result: CompletionResult,
  { settings: { maxAttempts, onEvent } }: Sending,
): Fate {
  if (result.kind === "lost") return "lost";
  const facts = factsOf(claimed, claimed.cycleAttempts);
  switch (completion.next.kind) {
    case "dead":
      onEvent({ kind: "dead-lettered", ...facts, maxAttempts, permanent: false, reason });
      return "dead";
    case "in_doubt":
      onEvent({ kind: "held-in-doubt", ...facts, error: reason });
      return "held";
    default:
      return "sent";
  }
}

/** Writes an outcome, however long the store takes: an outcome that is forgotten is sent again. */
function commit(
  completion: Completion,
  { settings, givingUp }: Sending,
): Promise<CompletionResult> {
  const { store, clock, onEvent } = settings;
  const write = async () => (await store.complete([completion]))[0] as CompletionResult;
  const onFailure = (error: unknown) => onEvent({ kind: "store-failed", doing: "complete", error });
  return untilDone(write, { clock, signal: givingUp, onFailure });
}

/** Gives a lease back unspent. If the store does not hear of it, the lease runs out by itself. */
async function giveBack(release: Release, { settings }: Sending): Promise<Fate> {
  try {
    await settings.store.release([release]);
  } catch (error) {
    settings.onEvent({ kind: "store-failed", doing: "release", error });
  }
  return "released";
}

function leaseOf({ delivery, token }: ClaimedDelivery) {
  return { delivery, token };
}

function factsOf({ id, template, route }: ClaimedDelivery, cycleAttempt: number): DeliveryFacts {
  return { deliveryId: id, ...(template !== undefined && { template }), route, cycleAttempt };
}
