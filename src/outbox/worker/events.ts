/**
 * The events of a worker, and the log line of each. The lines are listed in the docs; alarms match
 * them.
 */

/** Names a delivery and one of its attempts. */
export interface DeliveryFacts {
  readonly deliveryId: string;
  readonly template?: string | undefined;
  readonly route: string;
  /** Number of the attempt within the cycle; a redrive starts from 1 again. */
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
  /** It may have been sent, its reply is lost, and its policy is not to send it twice. */
  | ({ readonly kind: "held-in-doubt"; readonly error: string } & DeliveryFacts)
  /** Another worker has the lease. `delivered`: recipients that were delivered are on record. */
  | { readonly kind: "lease-lost"; readonly deliveryId: string; readonly delivered: boolean }
  | {
      readonly kind: "route-blocked";
      readonly route: string;
      readonly reason: string;
      /** In a row. */
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

/** Makes one structured log line of an event. */
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
