/** Options of a worker with short pauses and delays, so that it retries mail within 100 ms. */
import type { WorkerOptions } from "../../../../src/outbox/index.ts";

export const quickWorker = {
  pollMs: [10, 50],
  retry: { kind: "steps", stepsMs: [20], jitter: 0, minMs: 20, maxMs: 20 },
  routePausesMs: [50],
  putOffMs: 100,
} as const satisfies Partial<WorkerOptions>;
