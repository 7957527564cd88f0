/** What the server counts, in Prometheus' text format; see docs/reference/metrics.md. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { DeliveryStats, RecoveryReport } from "../../delivery/index.ts";

/** Figures that are asked for at the moment somebody reads the metrics. */
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

const seconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const powersOfTwo = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** Makes the server's metrics in a registry of their own. */
export function createMetrics(live: LiveFigures) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  gauge("postbag_ready", "1 while mail should be sent here, else 0", async () =>
    (await live.ready()) ? 1 : 0,
  );
  const stat = (read: (stats: DeliveryStats) => number) => () => read(live.delivery());
  gauge(
    "postbag_delivery_pending",
    "Deliveries waiting or in flight",
    stat((stats) => stats.pending),
  );
  gauge(
    "postbag_delivery_pending_bytes",
    "Bytes of those deliveries",
    stat((stats) => stats.pendingBytes),
  );
  gauge(
    "postbag_delivery_waiting",
    "Deliveries kept waiting by a full queue",
    stat((stats) => stats.waiting),
  );
  gauge(
    "postbag_journal_accepting",
    "1 while mail can be made durable, 0 after the journal's disk refused writes",
    stat((stats) => (stats.accepting ? 1 : 0)),
  );
  gauge(
    "postbag_unpublished_messages",
    "Messages durable in the journal and not yet in their mailboxes",
    stat((stats) => stats.unpublished),
  );
  gauge(
    "postbag_oldest_unpublished_seconds",
    "How long the first of those messages has been durable",
    stat((stats) => stats.oldestUnpublishedMs / 1000),
  );
  gauge("postbag_journal_segments", "Segments of the journal on the disk", live.segments);
  gauge("postbag_orphans", "Messages kept because their mailbox was gone", live.orphans);
  new Gauge({
    name: "postbag_recovered_messages",
    help: "Messages that recovery restored, finished, or found published, since the start",
    labelNames: ["how"],
    registers,
    collect() {
      const { restored, finished, skipped } = live.recovery();
      for (const [how, count] of Object.entries({ restored, finished, skipped })) {
        this.set({ how }, count);
      }
    },
  });
  gauge("postbag_free_bytes", "Free space for mail", live.freeBytes);
  new Gauge({
    name: "postbag_sessions",
    help: "Open sessions",
    labelNames: ["protocol"],
    registers,
    collect() {
      for (const [protocol, count] of Object.entries(live.sessions())) {
        this.set({ protocol }, count);
      }
    },
  });

  function gauge(name: string, help: string, read: () => number | Promise<number | undefined>) {
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        const value = await read();
        if (value !== undefined) this.set(value);
      },
    });
  }

  return {
    registry,
    messages: new Counter({
      name: "postbag_messages_total",
      help: "Messages answered, by protocol and by what was answered",
      labelNames: ["protocol", "outcome"],
      registers,
    }),
    recipients: new Counter({
      name: "postbag_recipients_total",
      help: "Recipients answered after the message, by outcome",
      labelNames: ["outcome"],
      registers,
    }),
    faults: new Counter({
      name: "postbag_delivery_faults_total",
      help: "Deliveries deferred by a fault of this machine, by errno",
      labelNames: ["errno"],
      registers,
    }),
    refusals: new Counter({
      name: "postbag_refusals_total",
      help: "Refusals before a message was taken, by reply code",
      labelNames: ["protocol", "code"],
      registers,
    }),
    bytes: new Counter({
      name: "postbag_stored_bytes_total",
      help: "Bytes made durable",
      registers,
    }),
    durable: new Histogram({
      name: "postbag_durable_seconds",
      help: "Time from handing a message to the executor to its being durable",
      buckets: seconds,
      registers,
    }),
    flush: new Histogram({
      name: "postbag_flush_seconds",
      help: "Time one batch took",
      buckets: seconds,
      registers,
    }),
    batch: new Histogram({
      name: "postbag_batch_messages",
      help: "Messages in one batch",
      buckets: powersOfTwo,
      registers,
    }),
  };
}
