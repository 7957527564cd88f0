/** Options that make a worker come back to mail soon: the same logic with short times. */
import type { WorkerOptions } from "../../../../src/outbox/index.ts";

export const quickWorker = {
  pollMs: [10, 50],
  retry: { kind: "steps", stepsMs: [20], jitter: 0, minMs: 20, maxMs: 20 },
  routePausesMs: [50],
  putOffMs: 100,
} as const satisfies Partial<WorkerOptions>;
