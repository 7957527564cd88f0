/**
 * Makes the metrics of the table in a registry, with the figures of the server behind its gauges.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { DeliveryStats, RecoveryReport } from "../../delivery/index.ts";
import { type MetricRow, serverMetrics as rows } from "./metrics-table.ts";

/** Figures that the gauges read at the moment the metrics are read. */
export interface LiveFigures {
  readonly sessions: () => Readonly<Record<string, number>>;
  readonly delivery: () => DeliveryStats;
  readonly freeBytes: () => Promise<number | undefined>;
  readonly ready: () => Promise<boolean>;
  readonly orphans: () => Promise<number>;
  readonly recovery: () => RecoveryReport;
  /** `undefined` without a journal. */
  readonly segments: () => Promise<number | undefined>;
}

export type Metrics = ReturnType<typeof createMetrics>;

/** Makes the server's metrics in a registry of their own. */
export function createMetrics(live: LiveFigures) {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const { counter, histogram, gauge, labelledGauge } = metricsIn(registry);

  gauge(rows.ready, async () => ((await live.ready()) ? 1 : 0));
  gauge(rows.pending, () => live.delivery().pending);
  gauge(rows.pendingBytes, () => live.delivery().pendingBytes);
  gauge(rows.waiting, () => live.delivery().waiting);
  gauge(rows.accepting, () => (live.delivery().accepting ? 1 : 0));
  gauge(rows.unpublished, () => live.delivery().unpublished);
  gauge(rows.oldestUnpublished, () => live.delivery().oldestUnpublishedMs / 1000);
  gauge(rows.segments, live.segments);
  gauge(rows.orphans, live.orphans);
  gauge(rows.freeBytes, live.freeBytes);
  labelledGauge(rows.sessions, "protocol", live.sessions);
  labelledGauge(rows.recovered, "how", () => {
    const { restored, finished, skipped } = live.recovery();
    return { restored, finished, skipped };
  });
  return {
    registry,
    messages: counter(rows.messages),
    recipients: counter(rows.recipients),
    faults: counter(rows.faults),
    refusals: counter(rows.refusals),
    bytes: counter(rows.bytes),
    durable: histogram(rows.durable),
    flush: histogram(rows.flush),
    batch: histogram(rows.batch),
  };
}

/** Functions that make a metric of a row in this registry. */
export function metricsIn(registry: Registry) {
  const optionsOf = ({ name, help, labels = [] }: MetricRow) => ({
    name,
    help,
    labelNames: labels,
    registers: [registry],
  });
  return {
    counter: (row: MetricRow) => new Counter(optionsOf(row)),
    histogram: (row: MetricRow) =>
      new Histogram({ ...optionsOf(row), buckets: [...(row.buckets ?? [])] }),
    /** A reading of `undefined` leaves the value as it was. */
    gauge(row: MetricRow, read: () => number | undefined | Promise<number | undefined>): void {
      new Gauge({
        ...optionsOf(row),
        async collect() {
          const value = await read();
          if (value !== undefined) this.set(value);
        },
      });
    },
    /** Reads a value for each value of the label; values that are missing disappear. */
    labelledGauge(
      row: MetricRow,
      label: string,
      read: () => Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>,
    ): void {
      new Gauge({
        ...optionsOf(row),
        async collect() {
          const values = Object.entries(await read());
          this.reset();
          for (const [name, value] of values) this.set({ [label]: name }, value);
        },
      });
    },
  };
}
