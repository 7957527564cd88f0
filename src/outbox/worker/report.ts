/** Reports a decision that the store has: as an event, and as the result that the worker counts. */
import { invariant } from "../../system/index.ts";
import type { Plan } from "../model/delivery-state.ts";
import type { CompletionResult } from "../model/rows.ts";
import type { LeasedDelivery, WorkerContext } from "./context.ts";
import type { DeliveryFacts } from "./events.ts";
import type { WorkerSettings } from "./options.ts";
import type { Decision } from "./record.ts";

/**
 * The result of a lease. `held`: in doubt (it may have been sent), until an operator resolves it.
 * `released`: the lease was released, and no attempt spent. `lost`: the lease was not valid any
 * more, or the outcome could not be written.
 */
export type AttemptResult = "sent" | "retry" | "dead" | "held" | "released" | "lost";

/** Emits the event of a decision; `recorded` is the store's answer, so the decision is durable. */
export function report(
  decision: Decision,
  recorded: CompletionResult | undefined,
  { claimed }: LeasedDelivery,
  { settings }: WorkerContext,
): AttemptResult {
  if (decision.kind === "release" || decision.kind === "route") return "released";
  invariant(recorded !== undefined, "the store answers each completion");
  const { clock, maxAttempts, onEvent } = settings;
  const { id: deliveryId, template, route } = claimed;
  const { attemptNo } = recorded;
  if (recorded.kind === "lost") {
    const delivered = attemptNo !== undefined;
    if (decision.kind !== "complete") onEvent({ kind: "lease-lost", deliveryId, delivered });
    return "lost";
  }
  const cycleAttempt = decision.kind === "complete" ? claimed.cycleAttempts : decision.cycleAttempt;
  const facts: DeliveryFacts = { deliveryId, template, route, cycleAttempt, attemptNo };
  switch (decision.kind) {
    case "complete":
      return reportClosed(decision, facts, settings);
    case "sent": {
      const durationMs = clock.now() - decision.attempt.startedAtMs;
      onEvent({ kind: "sent", ...facts, durationMs });
      return "sent";
    }
    case "retry": {
      const nextAttemptAt = new Date(clock.wallTimeMs() + decision.delayMs);
      onEvent({ kind: "retry-scheduled", ...facts, nextAttemptAt, error: decision.error });
      return "retry";
    }
    case "held":
      onEvent({ kind: "held-in-doubt", ...facts, error: decision.error });
      return "held";
    case "dead": {
      const { permanent, reason } = decision;
      onEvent({ kind: "dead-lettered", ...facts, maxAttempts, permanent, reason });
      return "dead";
    }
  }
}

/** Emits the event of a delivery that ended without an attempt. */
function reportClosed(
  { completion, reason }: Extract<Plan, { kind: "complete" }>,
  facts: DeliveryFacts,
  { maxAttempts, onEvent }: WorkerSettings,
): AttemptResult {
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
