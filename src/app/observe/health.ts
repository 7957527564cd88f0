/**
 * Decides for `/readyz` whether the server is ready: not while stopping, while the disk fails or
 * does not answer, while the journal or the outbox cannot do its work, or while the disk is nearly
 * full.
 *
 * A disk that failed counts as failing until a message or a probe is durable again. A server that
 * is not ready may receive no mail to store, so each health request after a failure writes and
 * syncs a small probe file.
 */
import { statfs } from "node:fs/promises";
import type { Health } from "../../http/index.ts";
import { type Clock, errnoOf, within } from "../../system/index.ts";

/** The disk counts as stalled after five seconds in which no delivery, or not the probe, ended. */
const stalledAfterMs = 5_000;

export interface HealthOptions {
  readonly mailRoot: string;
  /** Free bytes on the disk of the mail root below which the server is not ready. */
  readonly minFreeBytes: number;
  readonly clock: Clock;
  /** The number of deliveries waiting or in flight. */
  readonly pending: () => number;
  /** Reasons of the journal not to be ready; only the first is reported. */
  readonly notReady: () => readonly string[];
  /** Writes and syncs a small file in the data directory; rejects when the disk fails. */
  readonly probeDisk: () => Promise<void>;
  /**
   * Why the outbox cannot take mail; `undefined` when it can. @defaultValue the outbox does not
   * count
   */
  readonly outboxNotReady?: (() => Promise<string | undefined>) | undefined;
}

export interface HealthMonitor {
  /** To be called when a message became durable: the disk works. */
  readonly stored: () => void;
  /** To be called with an error of the disk: not ready until the disk stores data again. */
  readonly storageFailed: (error: unknown) => void;
  /** To be called when the server begins to stop: not ready from then on. */
  readonly stopping: () => void;
  /** The answer for one request to `/readyz`, after at most five seconds. */
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

  /**
   * Tells whether five seconds ago a health request found deliveries pending and none has ended
   * since. Without health requests nothing is measured.
   */
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
      // Health requests share one probe, so that a hung disk has one pending write, not one for
      // each HTTP client.
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
