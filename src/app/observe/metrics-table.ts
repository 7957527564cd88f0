/**
 * The table of metrics. metrics.ts and outbox-metrics.ts make the registry that Prometheus reads
 * from it, and scripts/reference.ts makes docs/reference/metrics.md from it.
 */

export interface MetricRow {
  readonly name: `postbag_${string}`;
  readonly type: "counter" | "gauge" | "histogram";
  /** One line without a full stop; it also explains the values of the labels. */
  readonly help: string;
  /** @defaultValue the metric has no labels */
  readonly labels?: readonly string[];
  /** The upper bounds of the buckets of a histogram; other types have none. */
  readonly buckets?: readonly number[];
}

const seconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const powersOfTwo = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** Metrics of a server: receiving, storing, the journal. */
export const serverMetrics = {
  ready: {
    name: "postbag_ready",
    type: "gauge",
    help: "1 while the server is ready for mail, as /readyz says; else 0",
  },
  messages: {
    name: "postbag_messages_total",
    type: "counter",
    labels: ["protocol", "outcome"],
    help: "Messages answered; accepted (for at least one recipient), deferred or failed",
  },
  recipients: {
    name: "postbag_recipients_total",
    type: "counter",
    labels: ["outcome"],
    help: "Recipients answered after the message; delivered, deferred or failed",
  },
  refusals: {
    name: "postbag_refusals_total",
    type: "counter",
    labels: ["protocol", "code"],
    help: "Refusals before a message was accepted, by reply code",
  },
  faults: {
    name: "postbag_delivery_faults_total",
    type: "counter",
    labels: ["errno"],
    help: "Deliveries deferred by a fault of this machine, by errno",
  },
  bytes: { name: "postbag_stored_bytes_total", type: "counter", help: "Bytes made durable" },
  durable: {
    name: "postbag_durable_seconds",
    type: "histogram",
    buckets: seconds,
    help: "Time from handing a message to the executor until it is durable",
  },
  flush: {
    name: "postbag_flush_seconds",
    type: "histogram",
    buckets: seconds,
    help: "Time of one batch",
  },
  batch: {
    name: "postbag_batch_messages",
    type: "histogram",
    buckets: powersOfTwo,
    help: "Messages in one batch",
  },
  pending: {
    name: "postbag_delivery_pending",
    type: "gauge",
    help: "Deliveries waiting or in flight",
  },
  pendingBytes: {
    name: "postbag_delivery_pending_bytes",
    type: "gauge",
    help: "Bytes of the deliveries waiting or in flight",
  },
  waiting: {
    name: "postbag_delivery_waiting",
    type: "gauge",
    help: "Deliveries that wait because the queue is full",
  },
  accepting: {
    name: "postbag_journal_accepting",
    type: "gauge",
    help: "1 while mail can be made durable; 0 after the journal's disk refused writes",
  },
  unpublished: {
    name: "postbag_unpublished_messages",
    type: "gauge",
    help: "Messages durable in the journal and not yet in their mailboxes",
  },
  oldestUnpublished: {
    name: "postbag_oldest_unpublished_seconds",
    type: "gauge",
    help: "Age of the oldest message that is durable and not yet in its mailbox",
  },
  segments: {
    name: "postbag_journal_segments",
    type: "gauge",
    help: "Segments of the journal on the disk",
  },
  orphans: {
    name: "postbag_orphans",
    type: "gauge",
    help: "Messages in orphans, because their mailbox was gone or refused them",
  },
  recovered: {
    name: "postbag_recovered_messages",
    type: "gauge",
    labels: ["how"],
    help: "Messages of recovery since the start; restored, finished or skipped (published already)",
  },
  sessions: {
    name: "postbag_sessions",
    type: "gauge",
    labels: ["protocol"],
    help: "Open sessions",
  },
  freeBytes: { name: "postbag_free_bytes", type: "gauge", help: "Free space for mail" },
} as const satisfies Record<string, MetricRow>;

/** Metrics of the outbox and its worker, in a server and in `postbag worker`. */
export const outboxMetrics = {
  up: {
    name: "postbag_outbox_up",
    type: "gauge",
    help: "1 while the outbox answers, else 0; only then the other gauges are current",
  },
  queued: {
    name: "postbag_outbox_queued",
    type: "gauge",
    labels: ["lane"],
    help: "Deliveries that have not ended, due or not",
  },
  due: {
    name: "postbag_outbox_due",
    type: "gauge",
    labels: ["lane"],
    help: "Deliveries that are due and not leased",
  },
  leased: {
    name: "postbag_outbox_leased",
    type: "gauge",
    labels: ["lane"],
    help: "Deliveries leased by a worker of any process",
  },
  oldestDue: {
    name: "postbag_outbox_oldest_due_seconds",
    type: "gauge",
    labels: ["lane"],
    help: "Time for which the oldest due delivery has been due",
  },
  inFlight: {
    name: "postbag_outbox_in_flight",
    type: "gauge",
    help: "Deliveries that this process is sending",
  },
  dead: { name: "postbag_outbox_dead", type: "gauge", help: "Dead letters" },
  inDoubt: {
    name: "postbag_outbox_in_doubt",
    type: "gauge",
    help: "Deliveries held because it is not known whether they were sent",
  },
  blockedRoutes: {
    name: "postbag_outbox_blocked_routes",
    type: "gauge",
    help: "Routes that are paused after failures",
  },
  eventsWaiting: {
    name: "postbag_outbox_events_waiting",
    type: "gauge",
    help: "Events that no hook has received yet",
  },
  results: {
    name: "postbag_outbox_results_total",
    type: "counter",
    labels: ["result"],
    help: "Deliveries that left this worker; sent, retry, dead, held, or lost (the lease)",
  },
  storeFailures: {
    name: "postbag_outbox_store_failures_total",
    type: "counter",
    labels: ["doing"],
    help: "Calls that the store of the outbox did not answer, by operation",
  },
} as const satisfies Record<string, MetricRow>;
