/**
 * Decides readiness: not ready while stopping, while the disk fails or does not answer, while the
 * journal or the outbox cannot do its work, or when the disk is nearly full.
 *
 * A disk that failed counts as failing until something is stored durably again. Because a server
 * that is not ready may receive no mail to store, each health request after a failure makes a small
 * durable write of its own.
 */
import { statfs } from "node:fs/promises";
import type { Health } from "../../http/index.ts";
import { type Clock, errnoOf, within } from "../../system/index.ts";

/** A disk that has not answered after this time counts as stalled. */
const stalledAfterMs = 5_000;

export interface HealthOptions {
  readonly mailRoot: string;
  readonly minFreeBytes: number;
  readonly clock: Clock;
  /** Deliveries waiting or in flight. */
  readonly pending: () => number;
  /** Other reasons not to be ready; the first is reported. */
  readonly notReady: () => readonly string[];
  /** Stores something small durably, beside the mail. */
  readonly probeDisk: () => Promise<void>;
  /** Why the outbox cannot take mail; `undefined` when it can. @defaultValue it always can */
  readonly outboxNotReady?: (() => Promise<string | undefined>) | undefined;
}

export interface HealthMonitor {
  readonly stored: () => void;
  readonly storageFailed: (error: unknown) => void;
  readonly stopping: () => void;
  readonly health: () => Promise<Health>;
  /** Free bytes for mail; `undefined` when the file system does not report them. */
  readonly freeBytes: () => Promise<number | undefined>;
}

export function monitorHealth(options: HealthOptions): HealthMonitor {
  const { mailRoot, minFreeBytes, clock, pending, probeDisk } = options;
  let isStopping = false;
  let failure: unknown;
  let busySinceMs: number | undefined;
  let answer: Promise<Health> | undefined;

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
        await probeDisk();
        failure = undefined;
      } catch (error) {
        return notReady(`the disk fails (${errnoOf(error) ?? "unknown error"})`);
      }
    }
    const free = await freeBytes();
    if (free !== undefined && free < minFreeBytes) {
      return notReady(`only ${free} bytes are free for mail, less than ${minFreeBytes}`);
    }
    const reason = await options.outboxNotReady?.();
    return reason === undefined ? { ready: true } : notReady(reason);
  }

  /** Tells whether deliveries have waited since an earlier request and none of them has ended. */
  function isStalled(): boolean {
    if (pending() === 0) busySinceMs = undefined;
    else busySinceMs ??= clock.now();
    return busySinceMs !== undefined && clock.now() - busySinceMs >= stalledAfterMs;
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
      isStopping = true;
    },
    async health() {
      if (isStopping) return notReady("stopping");
      if (isStalled()) return notReady("the disk does not answer");
      const [reason] = options.notReady();
      if (reason !== undefined) return notReady(reason);
      // Requests share one answer, so that a hung disk holds one request to it, not one per
      // visitor.
      answer ??= askDisk().finally(() => {
        answer = undefined;
      });
      return within(answer, stalledAfterMs, notReady("the disk does not answer"), clock);
    },
  };
}

function notReady(reason: string): Health {
  return { ready: false, reason };
}
