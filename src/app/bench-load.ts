/**
 * A closed loop of callers on a delivery executor, each delivering its next message when the last one
 * is answered, and what came of it.
 *
 * Only what happens after the warm-up is measured. The loop ends when its time or its messages are used
 * up, but not before every caller has delivered one that is measured.
 */
import { join } from "node:path";
import { DeliveryExecutor, type DeliveryTuning } from "../delivery/index.ts";

export type BenchCommit = "synced" | "journal";

export interface BenchLoad {
  readonly commit: BenchCommit;
  readonly callers: number;
  readonly mailboxes: number;
  readonly tuning?: DeliveryTuning;
  readonly bodyBytes: number;
  readonly warmupMs: number;
  readonly measureMs: number;
  /** Ends earlier after so many messages. @defaultValue no bound */
  readonly maxMessages?: number;
  /** Octets of one segment of the journal. @defaultValue the executor's */
  readonly segmentBytes?: number;
  /** Ends the loop with its reason. */
  readonly signal?: AbortSignal;
  /** Called when measuring begins and when it ends. */
  readonly onPhase?: (phase: "begins" | "ends") => void;
}

export interface BenchMeasured {
  readonly messages: number;
  readonly perSecond: number;
  /** From the call to durable. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Messages in one batch, on average. */
  readonly batch: number;
  /** From durable to visible in the mailbox, of one message in {@link followed}; 0 in synced mode. */
  readonly visible: { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number };
}

const followed = 16;

/** Loads an executor whose journal and mailboxes lie below `directory`, which exists. */
export async function measureExecutor(directory: string, load: BenchLoad): Promise<BenchMeasured> {
  const { commit, tuning, segmentBytes } = load;
  const journal = { journal: join(directory, "journal"), ...(segmentBytes && { segmentBytes }) };
  await using executor = await DeliveryExecutor.open({
    ...tuning,
    mailRoot: directory,
    commit: commit === "synced" ? commit : journal,
  });
  // Waiting for mail to be published does not by itself keep a process alive.
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
  const request = signal === undefined ? {} : { signal };
  const boxes = Array.from({ length: load.mailboxes }, (_, box) => join(directory, `u${box}`));
  const first = await Promise.all(boxes.map((box) => executor.deliver(box, body, request)));
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
  // A disk that is fast beyond expectation must not spend all messages on the warm-up.
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
      const id = await executor.deliver(boxes[sent++ % boxes.length]!, body, request);
      if (!isMeasured) continue;
      measured += 1;
      latenciesMs.push(performance.now() - startedMs);
      if (load.commit === "journal" && latenciesMs.length % followed === 1) {
        following.push(follow(id));
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
