/**
 * Makes the outbox's metrics of the table (metrics-table.ts): gauges read the store at each reading
 * of `/metrics`, counters count the worker's events. Called by outbound/outbound.ts.
 */
import type { Registry } from "prom-client";
import type { LaneStats, StoreStats, WorkerEvent } from "../../outbox/index.ts";
import { metricsIn } from "./metrics.ts";
import { type MetricRow, outboxMetrics as rows } from "./metrics-table.ts";

export interface OutboxFigures {
  /** Counts of the store; `undefined` while the store does not answer. */
  readonly stats: () => Promise<StoreStats | undefined>;
  /** The number of deliveries that this process is sending. */
  readonly inFlight: () => number;
}

const results: Readonly<Partial<Record<WorkerEvent["kind"], string>>> = {
  sent: "sent",
  "retry-scheduled": "retry",
  "dead-lettered": "dead",
  "held-in-doubt": "held",
  "lease-lost": "lost",
};

/** Adds the metrics of the outbox to a registry; returns the listener that counts worker events. */
export function createOutboxMetrics(
  registry: Registry,
  live: OutboxFigures,
): (event: WorkerEvent) => void {
  const { counter, gauge, labelledGauge } = metricsIn(registry);
  const stats = shared(live.stats);
  const perLane = (row: MetricRow, read: (lane: LaneStats) => number) =>
    labelledGauge(row, "lane", async () => {
      const lanes = (await stats())?.lanes ?? [];
      return Object.fromEntries(lanes.map((lane) => [lane.lane, read(lane)]));
    });

  gauge(rows.up, async () => ((await stats()) ? 1 : 0));
  gauge(rows.inFlight, live.inFlight);
  gauge(rows.dead, async () => (await stats())?.dead);
  gauge(rows.inDoubt, async () => (await stats())?.inDoubt);
  gauge(rows.blockedRoutes, async () => (await stats())?.blockedRoutes.length);
  gauge(rows.eventsWaiting, async () => (await stats())?.eventsWaiting);
  perLane(rows.queued, ({ queued }) => queued);
  perLane(rows.due, ({ due }) => due);
  perLane(rows.leased, ({ leased }) => leased);
  perLane(rows.oldestDue, ({ oldestDueMs }) => (oldestDueMs ?? 0) / 1_000);
  const outcomes = counter(rows.results);
  const failures = counter(rows.storeFailures);
  for (const result of Object.values(results)) outcomes.inc({ result }, 0);

  return (event) => {
    const result = results[event.kind];
    if (result !== undefined) outcomes.inc({ result });
    if (event.kind === "store-failed") failures.inc({ doing: event.doing });
  };
}

/** Makes overlapping calls share one answer, so that all gauges of a reading ask the store once. */
function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= ask().finally(() => {
      answer = undefined;
    });
    return answer;
  };
}
