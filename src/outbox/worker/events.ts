/**
 * The events that a worker passes to its option `onEvent`, and the log line of each. The lines are
 * listed in docs/reference/log-lines.md; operators' alarms match their texts.
 */

/** Names a delivery and one of its attempts. */
export interface DeliveryFacts {
  readonly deliveryId: string;
  readonly template?: string | undefined;
  readonly route: string;
  /** Number of the attempt in the cycle; a redrive starts a cycle, with attempt 1. */
  readonly cycleAttempt: number;
  /** Number of the attempt in the whole life of the delivery. */
  readonly attemptNo?: number | undefined;
}

export type WorkerEvent =
  | ({ readonly kind: "sent"; readonly durationMs: number } & DeliveryFacts)
  | ({
      readonly kind: "retry-scheduled";
      readonly nextAttemptAt: Date;
      readonly error: string;
    } & DeliveryFacts)
  | ({
      readonly kind: "dead-lettered";
      readonly maxAttempts: number | undefined;
      readonly permanent: boolean;
      readonly reason: string;
    } & DeliveryFacts)
  /**
   * In doubt: the delivery may have been sent, the reply to its final dot is lost, and its doubt
   * policy forbids a second copy. It waits until an operator resolves it.
   */
  | ({ readonly kind: "held-in-doubt"; readonly error: string } & DeliveryFacts)
  /**
   * The lease was not valid any more when the outcome was written. `delivered`: the attempt had
   * delivered to recipients, and the store counts them as delivered all the same.
   */
  | { readonly kind: "lease-lost"; readonly deliveryId: string; readonly delivered: boolean }
  | {
      readonly kind: "route-blocked";
      readonly route: string;
      readonly reason: string;
      /** Failures of the route in a row. */
      readonly failures: number;
      readonly until?: Date | undefined;
    }
  | { readonly kind: "route-restored"; readonly route: string }
  /** A newer program changed the tables; the worker claims nothing more and finishes its sends. */
  | { readonly kind: "outdated"; readonly error: unknown }
  /** A call of the store failed; the worker goes on when the store answers again. */
  | {
      readonly kind: "store-failed";
      readonly doing:
        | "claim"
        | "body"
        | "renew"
        | "intend"
        | "complete"
        | "release"
        | "route"
        | "tick";
      readonly error: unknown;
    };

export interface LogLine {
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Makes the structured log line of an event. */
export function workerLogLine(event: WorkerEvent): LogLine {
  const { kind, ...fields } = event;
  switch (kind) {
    case "sent":
      return { level: "info", message: "mail delivery sent", fields };
    case "retry-scheduled":
      return { level: "info", message: "mail delivery retry scheduled", fields };
    case "dead-lettered":
      return { level: "warn", message: "mail delivery dead-lettered", fields };
    case "held-in-doubt":
      return {
        level: "warn",
        message: "mail delivery held in doubt; resolve it as sent or resend",
        fields,
      };
    case "lease-lost":
      return { level: "warn", message: "mail delivery lease lost", fields };
    case "route-blocked":
      return { level: "warn", message: "mail route blocked", fields };
    case "route-restored":
      return { level: "info", message: "mail route restored", fields };
    case "outdated":
      return {
        level: "error",
        message: "outbox schema is newer than this program; no mail is sent; update the program",
        fields: { err: event.error },
      };
    case "store-failed": {
      const { doing, error } = event;
      return { level: "warn", message: `outbox store failed: ${doing}`, fields: { err: error } };
    }
  }
}
