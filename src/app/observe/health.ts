/**
 * Whether mail should be sent here: not while stopping, while the disk fails or does not answer, while
 * the journal cannot take or publish mail, or when the disk is nearly full.
 *
 * A disk that failed counts as failing until something was durably stored again. If readiness keeps
 * new mail away, nothing would ever be stored again, so each question after a failure tries a small
 * durable write of its own.
 */
import { statfs } from "node:fs/promises";
import type { Health } from "../../http/index.ts";
import type { Clock } from "../../system/index.ts";
import { errnoOf } from "../errors.ts";

/** How long the disk may take for one answer, in milliseconds, before it counts as stalled. */
const patienceMs = 5_000;

export interface HealthOptions {
  readonly mailRoot: string;
  readonly minFreeBytes: number;
  readonly clock: Clock;
  /** Deliveries waiting or in flight. */
  readonly pending: () => number;
  /** What else keeps mail from being taken or published; the first of it is told. */
  readonly obstacles: () => readonly string[];
  /** Stores something small durably, beside the mail. */
  readonly tryToStore: () => Promise<void>;
  /** What keeps the outbox from taking mail. @defaultValue nothing */
  readonly outboxObstacle?: () => Promise<string | undefined>;
}

export interface HealthMonitor {
  readonly stored: () => void;
  readonly storageFailed: (error: unknown) => void;
  readonly stopping: () => void;
  readonly health: () => Promise<Health>;
  /** Free bytes for mail; `undefined` when the file system does not say. */
  readonly freeBytes: () => Promise<number | undefined>;
}

export function monitorHealth(options: HealthOptions): HealthMonitor {
  const { mailRoot, minFreeBytes, clock, pending, obstacles, tryToStore } = options;
  let stopping = false;
  let failure: unknown;
  let busySinceMs: number | undefined;
  let question: Promise<Health> | undefined;

  async function freeBytes(): Promise<number | undefined> {
    try {
      const { bavail, bsize } = await statfs(mailRoot);
      return bavail * bsize;
    } catch {
      return undefined;
    }
  }

  async function askDisk(): Promise<Health> {
    if (failure !== undefined) {
      try {
        await tryToStore();
        failure = undefined;
      } catch (error) {
        return notReady(`the disk fails (${errnoOf(error) ?? "unknown error"})`);
      }
    }
    const free = await freeBytes();
    if (free !== undefined && free < minFreeBytes) {
      return notReady(`only ${free} bytes are free for mail, less than ${minFreeBytes}`);
    }
    const obstacle = await options.outboxObstacle?.();
    return obstacle === undefined ? { ready: true } : notReady(obstacle);
  }

  /** Says whether deliveries have been waiting since an earlier question without one of them ending. */
  function isStalled(): boolean {
    if (pending() === 0) busySinceMs = undefined;
    else busySinceMs ??= clock.now();
    return busySinceMs !== undefined && clock.now() - busySinceMs >= patienceMs;
  }

  return {
    freeBytes,
    stored: () => {
      failure = undefined;
      busySinceMs = undefined;
    },
    storageFailed: (error) => {
      failure = error;
      busySinceMs = undefined;
    },
    stopping: () => {
      stopping = true;
    },
    async health() {
      if (stopping) return notReady("stopping");
      if (isStalled()) return notReady("the disk does not answer");
      const [obstacle] = obstacles();
      if (obstacle !== undefined) return notReady(obstacle);
      // A hung disk holds one question, not one per visitor.
      question ??= askDisk().finally(() => {
        question = undefined;
      });
      return within(patienceMs, question, clock);
    },
  };
}

function notReady(reason: string): Health {
  return { ready: false, reason };
}

async function within(limitMs: number, answer: Promise<Health>, clock: Clock): Promise<Health> {
  const { promise: late, resolve } = Promise.withResolvers<Health>();
  const timer = clock.setTimeout(() => resolve(notReady("the disk does not answer")), limitMs);
  try {
    return await Promise.race([answer, late]);
  } finally {
    clock.clearTimeout(timer);
  }
}
