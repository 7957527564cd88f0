/**
 * Writes the decision about a delivery to the outbox's store (not to a journal): the outcome or the
 * release of its lease, and the failure or the recovery of its route.
 *
 * A failed write is repeated until it succeeds or the worker gives up. Mail whose outcome is lost
 * would be sent a second time, and a lease that runs out because the store did not answer would
 * count as a crash of this worker.
 */
import type { RecipientOutcome } from "../../mail/index.ts";
import { invariant } from "../../system/index.ts";
import type { Plan, Verdict } from "../model/delivery-state.ts";
import type { Completion, CompletionResult, Release } from "../model/rows.ts";
import type { Attempt } from "./attempt.ts";
import type { LeasedDelivery, WorkerContext } from "./context.ts";
import { retryUntilDone } from "./retry-until-done.ts";

/** The decision of `process-delivery.ts`; a verdict comes with the attempt that it judges. */
export type Decision = Exclude<Plan, { kind: "send" }> | (Verdict & { readonly attempt: Attempt });

/**
 * Writes a decision. Resolves once it is durable, with the store's answer; for a release with
 * `undefined`, even when the worker gave up. Rejects when it gave up writing an outcome.
 */
export async function record(
  decision: Decision,
  { claimed }: LeasedDelivery,
  context: WorkerContext,
): Promise<CompletionResult | undefined> {
  const { settings, routes } = context;
  switch (decision.kind) {
    case "release":
      await releaseLease(decision.release, context);
      return undefined;
    case "complete":
      return complete(decision.completion, context);
    case "route": {
      const isBlocked = await routes.failed(claimed, decision.reply);
      // On a route that is not blocked the delivery would be claimed again at once.
      const delayMs = isBlocked ? 0 : settings.putOffMs;
      await releaseLease({ ...decision.release, delayMs }, context);
      return undefined;
    }
  }
  const routeReply = decision.kind === "retry" ? decision.routeReply : undefined;
  if (routeReply) await routes.failed(claimed, routeReply);
  const result = await complete(decision.completion, context);
  if (!routeReply && decision.attempt.outcomes.some(isAnswer)) await routes.worked(claimed);
  return result;
}

/** Whether the server at the other end of the route answered, and not this host. */
function isAnswer({ kind, reply }: RecipientOutcome): boolean {
  return kind === "delivered" || reply.phase !== "local";
}

/** Writes an outcome, however long the store takes. Rejects when the worker gives up. */
async function complete(
  completion: Completion,
  { settings, givingUp }: WorkerContext,
): Promise<CompletionResult> {
  const { store, clock, onEvent } = settings;
  const write = () => store.complete([completion]);
  const onFailure = (error: unknown) => onEvent({ kind: "store-failed", doing: "complete", error });
  const [result] = await retryUntilDone(write, { clock, signal: givingUp, onFailure });
  invariant(result !== undefined, "the store answers each completion");
  return result;
}

/**
 * Releases a lease without spending an attempt. Never rejects: when the worker gives up, the lease
 * runs out by itself.
 */
export async function releaseLease(
  release: Release,
  { settings, givingUp }: WorkerContext,
): Promise<void> {
  const { store, clock, onEvent } = settings;
  const write = () => store.release([release]);
  const onFailure = (error: unknown) => onEvent({ kind: "store-failed", doing: "release", error });
  await retryUntilDone(write, { clock, signal: givingUp, onFailure }).catch(() => {});
}
