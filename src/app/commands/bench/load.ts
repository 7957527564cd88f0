/**
 * A closed loop of callers on a delivery executor: each delivers its next message when its last one
 * is acknowledged. Called by `postbag bench` (bench.ts here) and by the benches in `bench/`.
 *
 * Only deliveries after the warm-up are measured. The loop ends when its time or its messages are
 * used up, but not before every caller has delivered one measured message.
 */
import { join } from "node:path";
import { DeliveryExecutor, type DeliveryTuning } from "../../../delivery/index.ts";
import { invariant } from "../../../system/index.ts";

export type BenchCommit = "synced" | "journal";

/** How an executor is opened. */
export interface BenchCommitment {
  readonly commit: BenchCommit;
  readonly tuning?: DeliveryTuning | undefined;
  /** The size of the journal. @defaultValue the defaults of the executor */
  readonly segments?: { readonly segmentBytes: number; readonly maxSegments: number };
}

export interface BenchLoad {
  /** The commit mode of the executor; only with a journal the time until visible is measured. */
  readonly commit: BenchCommit;
  readonly callers: number;
  readonly mailboxes: number;
  readonly bodyBytes: number;
  readonly warmupMs: number;
  readonly measureMs: number;
  /** Messages after which the loop ends, warm-up included. @defaultValue only the time ends it */
  readonly maxMessages?: number | undefined;
  /** Aborts the loop, which then rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
  /** Called once at the first measured delivery and once after the last. */
  readonly onPhase?: ((phase: "begins" | "ends") => void) | undefined;
}

export interface BenchMeasured {
  /** Messages that became durable while measuring. */
  readonly messages: number;
  readonly perSecond: number;
  /** From the call of `deliver` until the message is durable. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Messages in one batch, on average. */
  readonly batch: number;
  /** From durable until visible in the mailbox, of every 16th message; 0 in synced mode. */
  readonly visible: { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number };
}

/** Every so many-th message is followed until it is visible. */
const followed = 16;

/** Opens an executor whose journal and mailboxes lie below `directory`, which exists. */
export function openExecutor(
  directory: string,
  { commit, tuning, segments }: BenchCommitment,
): Promise<DeliveryExecutor> {
  const journal = { journal: join(directory, "journal"), ...segments };
  return DeliveryExecutor.open({
    ...tuning,
    mailRoot: directory,
    commit: commit === "synced" ? commit : journal,
  });
}

/** Runs the loop on an executor that {@link openExecutor} opened with the same `directory`. */
export async function measureExecutor(
  executor: DeliveryExecutor,
  directory: string,
  load: BenchLoad,
): Promise<BenchMeasured> {
  // The executor's wait for publishing does not keep the process alive; this timer does.
  const alive = setInterval(() => {}, 1_000);
  try {
    return await loop(executor, directory, load);
  } finally {
    clearInterval(alive);
  }
}

async function loop(
  executor: DeliveryExecutor,
  directory: string,
  load: BenchLoad,
): Promise<BenchMeasured> {
  const { signal, maxMessages = Number.POSITIVE_INFINITY } = load;
  const body = new Uint8Array(load.bodyBytes).fill(0x78);
  const boxes = Array.from({ length: load.mailboxes }, (_, box) => join(directory, `u${box}`));
  const first = await Promise.all(boxes.map((box) => executor.deliver(box, body, { signal })));
  await Promise.all(first.map((id) => executor.published(id)));

  const latenciesMs: number[] = [];
  const visibleMs: number[] = [];
  const following: Promise<void>[] = [];
  let sent = 0;
  let before:
    | { readonly atMs: number; readonly batches: number; readonly delivered: number }
    | undefined;
  const beganMs = performance.now();
  const figures = () => ({ atMs: performance.now(), ...executor.stats() });

  const mayGoOn = () =>
    performance.now() - beganMs < load.warmupMs + load.measureMs && sent < maxMessages;
  // The warm-up ends after a quarter of the messages, so that a fast disk leaves some to measure.
  const isWarm = () => performance.now() - beganMs >= load.warmupMs || sent >= maxMessages / 4;
  const follow = async (id: string) => {
    const durableAtMs = performance.now();
    await executor.published(id);
    visibleMs.push(performance.now() - durableAtMs);
  };
  const caller = async () => {
    for (let measured = 0; mayGoOn() || measured === 0; ) {
      const startedMs = performance.now();
      if (before === undefined && isWarm()) {
        before = figures();
        load.onPhase?.("begins");
      }
      const isMeasured = before !== undefined;
      const mailbox = boxes[sent++ % boxes.length];
      invariant(mailbox !== undefined, "a load has mailboxes");
      const id = await executor.deliver(mailbox, body, { signal });
      if (!isMeasured) continue;
      measured += 1;
      latenciesMs.push(performance.now() - startedMs);
      if (load.commit === "journal" && latenciesMs.length % followed === 1) {
        const seen = follow(id);
        seen.catch(() => {}); // After an abort the loop rejects without awaiting `seen`.
        following.push(seen);
      }
    }
  };
  await Promise.all(Array.from({ length: load.callers }, caller));
  load.onPhase?.("ends");
  const after = figures();
  await Promise.all(following);
  const start = before ?? after;
  return {
    messages: after.delivered - start.delivered,
    perSecond: (latenciesMs.length / (after.atMs - start.atMs)) * 1_000,
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
    batch: (after.delivered - start.delivered) / (after.batches - start.batches),
    visible: {
      p50Ms: quantile(visibleMs, 0.5),
      p99Ms: quantile(visibleMs, 0.99),
      maxMs: quantile(visibleMs, 1),
    },
  };
}

/** The value below which a share `q` of the figures lies (nearest rank); 0 without figures. */
export function quantile(figures: readonly number[], q: number): number {
  const sorted = figures.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
}
