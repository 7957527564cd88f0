/** What mail out counts, in Prometheus' text format; see docs/reference/metrics.md. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { LaneStats, StoreStats, WorkerEvent } from "../../outbox/index.ts";

export interface OutboxFigures {
  /** `undefined` while the store does not answer. */
  readonly stats: () => Promise<StoreStats | undefined>;
  readonly inFlight: () => number;
}

const results: Readonly<Partial<Record<WorkerEvent["kind"], string>>> = {
  sent: "sent",
  "retry-scheduled": "retry",
  "dead-lettered": "dead",
  "held-in-doubt": "held",
  "lease-lost": "lost",
};

/** Adds the metrics of the outbox to a registry; returns what counts the worker's events. */
export function createOutboxMetrics(
  registry: Registry,
  live: OutboxFigures,
): (event: WorkerEvent) => void {
  const registers = [registry];
  let asked: Promise<StoreStats | undefined> | undefined;
  /** One question for all the gauges of one reading. */
  const stats = () => {
    asked ??= live.stats().finally(() => {
      asked = undefined;
    });
    return asked;
  };

  perLane("queued", "Deliveries undecided, whether due or not", ({ queued }) => queued);
  perLane("due", "Deliveries due and in nobody's hands", ({ due }) => due);
  perLane("leased", "Deliveries in the hands of a worker, of any process", ({ leased }) => leased);
  perLane(
    "oldest_due_seconds",
    "How long the oldest due delivery has been due",
    ({ oldestDueMs }) => (oldestDueMs ?? 0) / 1_000,
  );
  gauge("up", "1 while the outbox answers, else 0", (found) => (found ? 1 : 0));
  gauge("in_flight", "Deliveries this process is sending", () => live.inFlight());
  gauge("dead", "Dead letters kept", (found) => found?.dead);
  gauge(
    "in_doubt",
    "Deliveries held because nobody knows whether they were sent",
    (found) => found?.inDoubt,
  );
  gauge(
    "blocked_routes",
    "Routes that rest after failures",
    (found) => found?.blockedRoutes.length,
  );
  gauge("events_waiting", "Events that no hook has heard of yet", (found) => found?.eventsWaiting);
  const outcomes = new Counter({
    name: "postbag_outbox_results_total",
    help: "Deliveries that left this worker's hands, by result",
    labelNames: ["result"],
    registers,
  });
  const failures = new Counter({
    name: "postbag_outbox_store_failures_total",
    help: "Calls that the store of the outbox did not answer, by what was being done",
    labelNames: ["doing"],
    registers,
  });
  for (const result of Object.values(results)) outcomes.inc({ result }, 0);

  function perLane(name: string, help: string, read: (lane: LaneStats) => number): void {
    new Gauge({
      name: `postbag_outbox_${name}`,
      help,
      labelNames: ["lane"],
      registers,
      async collect() {
        const found = await stats();
        this.reset();
        for (const lane of found?.lanes ?? []) this.set({ lane: lane.lane }, read(lane));
      },
    });
  }

  function gauge(
    name: string,
    help: string,
    read: (found: StoreStats | undefined) => number | undefined,
  ): void {
    new Gauge({
      name: `postbag_outbox_${name}`,
      help,
      registers,
      async collect() {
        const value = read(await stats());
        if (value !== undefined) this.set(value);
      },
    });
  }

  return (event) => {
    const result = results[event.kind];
    if (result !== undefined) outcomes.inc({ result });
    if (event.kind === "store-failed") failures.inc({ doing: event.doing });
  };
}
