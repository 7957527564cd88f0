/**
 * Processes one leased delivery for `worker.ts`, from its claim to its durable outcome: plan,
 * attempt, judge, record, report. Plan and judgement are pure (`../model/delivery-state.ts`).
 *
 * The order is the guarantee. Nothing is sent without a valid lease; the intent is durable before
 * the final dot (an attempt without an outcome); the outcome is durable before the lease ends. A
 * delivered recipient counts as delivered, even when another worker holds the lease by then.
 */
import { judge, type Plan, planOf } from "../model/delivery-state.ts";
import { type Attempt, makeAttempt } from "./attempt.ts";
import type { LeasedDelivery, WorkerContext } from "./context.ts";
import { type Decision, record } from "./record.ts";
import { type AttemptResult, report } from "./report.ts";

/** Sends a leased delivery, or closes or releases it as its plan says. Never rejects. */
export async function processDelivery(
  leased: LeasedDelivery,
  context: WorkerContext,
): Promise<AttemptResult> {
  const { settings, leases } = context;
  try {
    const plan = planOf(leased.claimed, settings.notify);
    const attempt = plan.kind === "send" ? await makeAttempt(plan, leased, context) : undefined;
    const decision = decide(plan, attempt, leased, context);
    const recorded = await record(decision, leased, context);
    return report(decision, recorded, leased, context);
  } catch (error) {
    settings.onEvent({ kind: "store-failed", doing: "complete", error });
    return "lost";
  } finally {
    leases.drop(leased.held);
  }
}

/** Judges an attempt; without one, follows the plan or releases the lease. */
function decide(
  plan: Plan,
  attempt: Attempt | undefined,
  { claimed, claimedAtMs }: LeasedDelivery,
  { settings, givingUp }: WorkerContext,
): Decision {
  if (plan.kind !== "send") return plan;
  if (attempt === undefined) {
    const { delivery, token } = claimed;
    // Without a delay a delivery whose dot the store refuses would be claimed in a tight loop.
    const delayMs = givingUp.aborted ? 0 : settings.putOffMs;
    return { kind: "release", release: { delivery, token, delayMs } };
  }
  const { recipients, outcomes, startedAtMs } = attempt;
  const { clock, retry, maxAttempts, random, notify, name } = settings;
  const nowMs = clock.now();
  const verdict = judge(claimed, recipients, outcomes, {
    policy: retry,
    maxAttempts,
    random,
    notify,
    worker: name,
    sinceClaimMs: nowMs - claimedAtMs,
    elapsedMs: nowMs - startedAtMs,
  });
  return { ...verdict, attempt };
}
