/**
 * Carries one leased delivery from the claim to its durable outcome.
 *
 * Order is everything: nothing is sent that the lease does not cover; the intent is durable before the
 * final dot; the outcome is durable before the lease is let go. What was sent is a fact, even when the
 * lease is somebody else's by then.
 */
import type { MemoryBudget, RecipientOutcome } from "../../mail/index.ts";
import { type Judgement, judge, type Plan, planOf, type Verdict } from "../model/delivery-state.ts";
import type { ClaimedDelivery, Completion, CompletionResult, Release } from "../model/rows.ts";
import { attempt } from "./attempt.ts";
import type { DeliveryFacts } from "./events.ts";
import type { HeldLease, Leases } from "./leases.ts";
import type { WorkerSettings } from "./options.ts";
import { untilDone } from "./retry-until-done.ts";
import type { Routes } from "./routes.ts";

/** What became of a delivery in this worker's hands. */
export type Fate = "sent" | "retry" | "dead" | "held" | "released" | "lost";

export interface Sending {
  readonly settings: WorkerSettings;
  readonly leases: Leases;
  readonly routes: Routes;
  /** For bodies that did not come with the claim. */
  readonly bodies: MemoryBudget;
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
      const { clock } = sending.settings;
      let startedMs = clock.now();
      const outcomes = await withRoom(claimed, held, sending, () => {
        startedMs = clock.now();
        return attempt(claimed, plan.recipients, held, sending);
      });
      if (outcomes === undefined) return giveBack(unspent(claimed, sending), sending);
      const verdict = judge(
        claimed,
        plan.recipients,
        outcomes,
        judgementOf(sending.settings, claimedMs, startedMs),
      );
      return settle(claimed, verdict, outcomes, startedMs, sending);
    }
  }
}

/** Sends when there is room in memory for the body; `undefined` if the lease ended in the wait. */
async function withRoom<Outcomes>(
  { bytes, size }: ClaimedDelivery,
  { signal }: HeldLease,
  { bodies }: Sending,
  send: () => Promise<Outcomes | undefined>,
): Promise<Outcomes | undefined> {
  if (bytes !== undefined) return send();
  try {
    return await bodies.hold(size, signal, send);
  } catch (error) {
    if (signal.aborted && error === signal.reason) return undefined;
    throw error;
  }
}

/** Back as it came; what is refused by store or lease is not begun again at once, over and over. */
function unspent({ delivery, token }: ClaimedDelivery, sending: Sending): Release {
  const { settings, givingUp } = sending;
  return { delivery, token, delayMs: givingUp.aborted ? 0 : settings.putOffMs };
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
  outcomes: readonly RecipientOutcome[],
  startedMs: number,
  sending: Sending,
): Promise<Fate> {
  const { settings, routes } = sending;
  if (verdict.kind === "route") {
    const rests = await routes.failed(claimed, verdict.reply);
    const delayMs = rests ? 0 : settings.putOffMs;
    return giveBack({ ...verdict.release, delayMs }, sending);
  }
  const routeReply = verdict.kind === "retry" ? verdict.routeReply : undefined;
  if (routeReply) await routes.failed(claimed, routeReply);
  const result = await commit(verdict.completion, sending);
  if (!routeReply && outcomes.some(isAnswer)) await routes.worked(claimed);
  if (result.kind === "lost") {
    const delivered = result.attemptNo !== undefined;
    settings.onEvent({ kind: "lease-lost", deliveryId: claimed.id, delivered });
    return "lost";
  }
  return tell(claimed, verdict, result, startedMs, settings);
}

/** Whether somebody at the other end of the route said it. */
function isAnswer({ kind, reply }: RecipientOutcome): boolean {
  return kind === "delivered" || reply.phase !== "local";
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

/** Gives a lease back unspent. If the store never hears of it, the lease runs out by itself. */
export async function giveBack(
  release: Release,
  { settings, givingUp }: Sending,
): Promise<"released"> {
  const { store, clock, onEvent } = settings;
  const onFailure = (error: unknown) => onEvent({ kind: "store-failed", doing: "release", error });
  // A lease that runs out because the store was away counts as a crash: so it is told when it is back.
  const write = () => store.release([release]);
  await untilDone(write, { clock, signal: givingUp, onFailure }).catch(() => {});
  return "released";
}

function factsOf({ id, template, route }: ClaimedDelivery, cycleAttempt: number): DeliveryFacts {
  return { deliveryId: id, ...(template !== undefined && { template }), route, cycleAttempt };
}
