/** What a worker tells of, and how each is said in a log. */

/** Names the delivery and which of its attempts is meant. */
export interface DeliveryFacts {
  readonly deliveryId: string;
  readonly template?: string;
  readonly route: string;
  /** Number of the attempt within the cycle; a redrive starts from 1 again. */
  readonly cycleAttempt: number;
  /** Number of the attempt in the whole life of the delivery. */
  readonly attemptNo?: number;
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
  /** Nobody knows whether it was sent, and it is not to be sent twice. */
  | ({ readonly kind: "held-in-doubt"; readonly error: string } & DeliveryFacts)
  /** The lease went to somebody else. `delivered`: what was sent counts all the same. */
  | { readonly kind: "lease-lost"; readonly deliveryId: string; readonly delivered: boolean }
  | {
      readonly kind: "route-blocked";
      readonly route: string;
      readonly reason: string;
      readonly failures: number;
      readonly until?: Date;
    }
  | { readonly kind: "route-restored"; readonly route: string }
  /** A newer program has changed the tables; the worker takes nothing more, and ends what it sends. */
  | { readonly kind: "outdated"; readonly error: unknown }
  /** The store did not answer; the worker goes on as soon as it does. */
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

/** Says an event as one structured log line. */
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
      return { level: "warn", message: "mail delivery held, in doubt whether it was sent", fields };
    case "lease-lost":
      return { level: "warn", message: "mail delivery lease lost", fields };
    case "route-blocked":
      return { level: "warn", message: "mail route blocked", fields };
    case "route-restored":
      return { level: "info", message: "mail route restored", fields };
    case "outdated": {
      const fields = { err: event.error };
      return {
        level: "error",
        message: "mail is sent no more, the outbox is a newer program's",
        fields,
      };
    }
    case "store-failed": {
      const { doing, error } = event;
      return { level: "warn", message: `outbox store failed: ${doing}`, fields: { err: error } };
    }
  }
}
