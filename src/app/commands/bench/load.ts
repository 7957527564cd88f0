/**
 * A closed loop of callers on a delivery executor: each delivers its next message when the last one
 * is acknowledged.
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
  /** The journal's size. @defaultValue the executor's */
  readonly segments?: { readonly segmentBytes: number; readonly maxSegments: number };
}

export interface BenchLoad {
  /** The commit of the executor; only with a journal mail is followed until it is visible. */
  readonly commit: BenchCommit;
  readonly callers: number;
  readonly mailboxes: number;
  readonly bodyBytes: number;
  readonly warmupMs: number;
  readonly measureMs: number;
  /** Ends earlier after so many messages. @defaultValue no bound */
  readonly maxMessages?: number | undefined;
  /** Ends the loop with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called when measuring begins and when it ends. */
  readonly onPhase?: ((phase: "begins" | "ends") => void) | undefined;
}

export interface BenchMeasured {
  readonly messages: number;
  readonly perSecond: number;
  /** From the call to durable. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Messages in one batch, on average. */
  readonly batch: number;
  /** From durable to visible in the mailbox, of one message in 16; 0 in synced mode. */
  readonly visible: { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number };
}

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

/** Loads an executor of {@link openExecutor} with that directory. */
export async function measureExecutor(
  executor: DeliveryExecutor,
  directory: string,
  load: BenchLoad,
): Promise<BenchMeasured> {
  // A wait for mail to be published does not keep the process alive.
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
  // On a very fast disk the warm-up must not use up all messages.
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
        seen.catch(() => {}); // An aborted loop does not wait for it.
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
