/** A closed loop of callers on a delivery executor of this process, and what it measured. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { DeliveryExecutor, type DeliveryTuning } from "../../src/delivery/index.ts";
import { flushCounter } from "./flushes.ts";
import { quantile } from "./table.ts";

export type Commit = "synced" | "journal";

export interface ExecutorLoad {
  readonly commit: Commit;
  readonly tuning: DeliveryTuning;
  readonly callers: number;
  readonly mailboxes: number;
  readonly bodyBytes: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

export interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Messages in one batch, on average. */
  readonly batch: number;
  /** Flushes of the disk for one message; undefined where they are not counted. */
  readonly flushesEach: number | undefined;
  /** From durable to visible; undefined where it was not watched. */
  readonly visible:
    | { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number }
    | undefined;
}

/** One message in so many is followed until it is visible. */
const followed = 16;

/** Delivers from so many callers below `directory`, after a warm-up. */
export async function loadExecutor(directory: string, load: ExecutorLoad): Promise<Measured> {
  const mailRoot = join(directory, "mail");
  mkdirSync(mailRoot);
  const body = new Uint8Array(load.bodyBytes).fill(0x78);
  await using executor = await DeliveryExecutor.open({
    ...load.tuning,
    mailRoot,
    commit: load.commit === "synced" ? "synced" : { journal: join(directory, "journal") },
  });
  const boxes = Array.from({ length: load.mailboxes }, (_, i) => join(mailRoot, `u${i}`));
  // Waiting for mail to be published does not by itself keep a process alive.
  using _ = {
    alive: setInterval(() => {}, 1000),
    [Symbol.dispose]() {
      clearInterval(this.alive);
    },
  };
  const ids = await Promise.all(boxes.map((box) => executor.deliver(box, body)));
  await Promise.all(ids.map((id) => executor.published(id)));

  const latenciesMs: number[] = [];
  const visibleMs: number[] = [];
  const following = new Set<Promise<void>>();
  let measuring = false;
  let stopping = false;
  let next = 0;
  const follow = async (id: string) => {
    const durableAtMs = performance.now();
    await executor.published(id);
    visibleMs.push(performance.now() - durableAtMs);
  };
  const caller = async () => {
    while (!stopping) {
      const box = boxes[next++ % boxes.length]!;
      const startedMs = performance.now();
      const id = await executor.deliver(box, body);
      if (!measuring) continue;
      latenciesMs.push(performance.now() - startedMs);
      if (load.commit === "journal" && latenciesMs.length % followed === 0) {
        const one = follow(id).finally(() => following.delete(one));
        following.add(one);
      }
    }
  };
  const callers = Promise.all(Array.from({ length: load.callers }, caller));

  await pause(load.warmupSeconds * 1000);
  const flushes = flushCounter(directory);
  const before = { stats: executor.stats(), flushes: flushes?.(), atMs: performance.now() };
  measuring = true;
  await pause(load.seconds * 1000);
  measuring = false;
  const after = { stats: executor.stats(), flushes: flushes?.(), atMs: performance.now() };
  stopping = true;
  await callers;
  await Promise.all(following);

  const delivered = after.stats.delivered - before.stats.delivered;
  const flushed =
    before.flushes === undefined || after.flushes === undefined
      ? undefined
      : after.flushes - before.flushes;
  return {
    perSecond: (latenciesMs.length / (after.atMs - before.atMs)) * 1000,
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
    batch: delivered / (after.stats.batches - before.stats.batches),
    flushesEach: flushed === undefined ? undefined : flushed / delivered,
    visible: {
      p50Ms: quantile(visibleMs, 0.5),
      p99Ms: quantile(visibleMs, 0.99),
      maxMs: visibleMs.reduce((most, one) => Math.max(most, one), 0),
    },
  };
}
