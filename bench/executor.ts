/**
 * How many messages a second the delivery executor makes durable, and what each knob is worth.
 *
 *   node bench/executor.ts               the headline, against the sequences others use
 *   node bench/executor.ts --sweep       maxConcurrentFlushes × maxWaitMs × callers
 *   node bench/executor.ts --primitives  ways to flush one batch: the choice behind the disk thread
 *   … --flush-ms 5                       the same on a disk whose flush takes 5 ms (root only)
 *   … --runs 3 --seconds 3
 *
 * Closed loop: so many callers, each delivering its next message when the last one is answered, 4 KB
 * each, every run on a fresh file system (a fresh directory without root). Medians over the runs.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DeliveryExecutor, type DeliveryTuning, referenceTuning } from "../src/delivery/index.ts";
import { type BenchDisk, freshDisk } from "./support/disk.ts";
import { printHeader } from "./support/header.ts";
import {
  type Primitive,
  type PrimitiveResult,
  primitives,
  runPrimitive,
} from "./support/primitives.ts";
import { median, printTable, quantile } from "./support/table.ts";

const { values } = parseArgs({
  options: {
    sweep: { type: "boolean", default: false },
    primitives: { type: "boolean", default: false },
    "flush-ms": { type: "string", default: "0" },
    runs: { type: "string", default: "3" },
    seconds: { type: "string", default: "3" },
  },
});
const runs = Number(values.runs);
const seconds = Number(values.seconds);
const flushMs = Number(values["flush-ms"]);
const body = new Uint8Array(4096).fill(0x78);

interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly batch: number;
}

interface Load {
  readonly callers: number;
  readonly mailboxes: number;
}

/** Delivers from so many callers for `seconds`, after a second of warm-up. */
async function measure(directory: string, tuning: DeliveryTuning, load: Load): Promise<Measured> {
  await using executor = await DeliveryExecutor.open({ ...tuning, mailRoot: directory });
  const boxes = Array.from({ length: load.mailboxes }, (_, i) => join(directory, `u${i}`));
  await Promise.all(boxes.map((box) => executor.deliver(box, body)));
  const latenciesMs: number[] = [];
  let measuring = false;
  let stopping = false;
  let next = 0;
  const caller = async () => {
    while (!stopping) {
      const startedMs = performance.now();
      await executor.deliver(boxes[next++ % boxes.length]!, body);
      if (measuring) latenciesMs.push(performance.now() - startedMs);
    }
  };
  const callers = Promise.all(Array.from({ length: load.callers }, caller));
  await elapse(1000);
  const before = executor.stats();
  const startedMs = performance.now();
  measuring = true;
  await elapse(seconds * 1000);
  measuring = false;
  const tookMs = performance.now() - startedMs;
  const after = executor.stats();
  stopping = true;
  await callers;
  return {
    perSecond: (latenciesMs.length / tookMs) * 1000,
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
    batch: (after.delivered - before.delivered) / (after.batches - before.batches),
  };
}

const elapse = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function medianOfRuns(tuning: DeliveryTuning, load: Load): Promise<Measured> {
  const all: Measured[] = [];
  for (let run = 0; run < runs; run++) {
    await using disk: BenchDisk = await freshDisk({ flushMs });
    all.push(await measure(disk.path, tuning, load));
  }
  const of = (pick: (one: Measured) => number) => median(all.map(pick));
  return {
    perSecond: of((one) => one.perSecond),
    p50Ms: of((one) => one.p50Ms),
    p99Ms: of((one) => one.p99Ms),
    batch: of((one) => one.batch),
  };
}

const whole = (n: number) => Math.round(n).toLocaleString("en");
const ms = (n: number) => n.toFixed(n < 10 ? 2 : 1);

async function headline(): Promise<void> {
  const rows: string[][] = [];
  for (const mailboxes of [1, 200]) {
    for (const primitive of ["one by one", "unsafe batch"] as const) {
      rows.push([primitive, String(mailboxes), ...(await primitiveCells(primitive, mailboxes))]);
    }
    for (const [label, tuning] of [
      ["Postbag, defaults", {}],
      ["Postbag, reference tuning", referenceTuning],
    ] as const) {
      const measured = await medianOfRuns(tuning, { callers: 64, mailboxes });
      rows.push([label, String(mailboxes), ...cells(measured)]);
    }
  }
  printTable(["what", "mailboxes", "messages/s", "p50 ms", "p99 ms", "batch"], rows);
  console.log(`
one by one    write, fdatasync, rename, directory sync, for each message: durable, no group commit.
unsafe batch  write all, sync tmp/, rename all, sync new/: file data never flushed, so that a power cut
              leaves empty files (test/powercut shows it). Not durable; here for its speed alone.`);
}

function cells({ perSecond, p50Ms, p99Ms, batch }: Measured): string[] {
  return [whole(perSecond), ms(p50Ms), ms(p99Ms), batch.toFixed(1)];
}

async function primitiveCells(
  primitive: Primitive,
  mailboxes: number,
  batch = 64,
): Promise<string[]> {
  const all: PrimitiveResult[] = [];
  for (let run = 0; run < runs; run++) {
    await using disk = await freshDisk({ flushMs });
    const load = { directory: disk.path, mailboxes, bodyBytes: body.length, batch, flushes: 2 };
    all.push(await runPrimitive(primitive, { ...load, seconds }));
  }
  const of = (pick: (one: PrimitiveResult) => number) => median(all.map(pick));
  const rate = whole(of((one) => one.perSecond));
  return [rate, ms(of((one) => one.p50Ms)), ms(of((one) => one.p99Ms)), String(batch)];
}

async function sweep(): Promise<void> {
  const rows: string[][] = [];
  for (const callers of [1, 8, 32, 64]) {
    for (const maxConcurrentFlushes of [1, 2, 3]) {
      for (const maxWaitMs of [0, 2, 10]) {
        const tuning = { maxConcurrentFlushes, maxWaitMs };
        const measured = await medianOfRuns(tuning, { callers, mailboxes: 1 });
        const knobs = [callers, maxConcurrentFlushes, maxWaitMs].map(String);
        rows.push([...knobs, ...cells(measured)]);
      }
    }
  }
  printTable(["callers", "flushes", "wait ms", "messages/s", "p50 ms", "p99 ms", "batch"], rows);
}

async function comparePrimitives(): Promise<void> {
  const rows: string[][] = [];
  for (const mailboxes of [1, 200]) {
    for (const batch of [64, 8, 3, 1]) {
      for (const primitive of primitives) {
        const figures = await primitiveCells(primitive, mailboxes, batch);
        rows.push([primitive, String(mailboxes), ...figures]);
      }
    }
  }
  printTable(["flushed by", "mailboxes", "messages/s", "p50 ms", "p99 ms", "batch"], rows);
  console.log("\nLatencies are those of a whole batch; two batches are under way at once.");
}

{
  await using disk = await freshDisk({ flushMs });
  printHeader(disk.path);
  console.log(`${disk.description}; ${runs} runs of ${seconds} s, medians\n`);
}
if (values.sweep) await sweep();
else if (values.primitives) await comparePrimitives();
else await headline();
