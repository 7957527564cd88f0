/**
 * Makes the server's metrics of the table (metrics-table.ts) in a registry; their gauges read the
 * server's figures. outbox-metrics.ts adds the metrics of the outbox.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { DeliveryStats, RecoveryReport } from "../../delivery/index.ts";
import { type MetricRow, serverMetrics as rows } from "./metrics-table.ts";

/** The figures of the gauges; each function is called at every reading of `/metrics`. */
export interface LiveFigures {
  /** The number of open sessions of each protocol. */
  readonly sessions: () => Readonly<Record<string, number>>;
  readonly delivery: () => DeliveryStats;
  /** Free bytes for mail; `undefined` when the file system does not report them. */
  readonly freeBytes: () => Promise<number | undefined>;
  readonly ready: () => Promise<boolean>;
  readonly orphans: () => Promise<number>;
  readonly recovery: () => RecoveryReport;
  /** Segments on the disk; `undefined` without a journal. */
  readonly segments: () => Promise<number | undefined>;
}

export type Metrics = ReturnType<typeof createMetrics>;

/** Makes the server's metrics and those of Node in a new registry. */
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

/** Returns functions that make the metric of a row of the table in a registry. */
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
    /** Makes a gauge that calls `read` at each reading; after `undefined` it has the last value. */
    gauge(row: MetricRow, read: () => number | undefined | Promise<number | undefined>): void {
      new Gauge({
        ...optionsOf(row),
        async collect() {
          const value = await read();
          if (value !== undefined) this.set(value);
        },
      });
    },
    /** Makes a gauge with the values of `read`, by label; a label that `read` omits disappears. */
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
