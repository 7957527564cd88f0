/**
 * Ways to make one batch durable. Each run is a child process (primitive-process.ts), because each
 * way has its own size of Node's thread pool, which is set at the start of a process.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

/** For each way: its flush function in primitive-process.ts, and the threads of Node's pool. */
const ways = {
  "one by one": { flush: "one by one", threads: 4 },
  "unsafe batch": { flush: "names only", threads: 4 },
  "fdatasync, 4 threads": { flush: "each", threads: 4 },
  "fdatasync, 32 threads": { flush: "each", threads: 32 },
  "fdatasync, 64 threads": { flush: "each", threads: 64 },
  syncfs: { flush: "bulk", threads: 4 },
  "syncfs data, fsync names, 32 threads": { flush: "bulk data", threads: 32 },
} as const satisfies Record<string, { flush: Flush; threads: number }>;

export type Flush = "one by one" | "names only" | "each" | "bulk" | "bulk data";
export type Primitive = keyof typeof ways;
export const primitives = Object.keys(ways) as Primitive[];

export interface PrimitiveLoad {
  readonly directory: string;
  readonly mailboxes: number;
  readonly bodyBytes: number;
  readonly batch: number;
  /** Batches in progress at a time. */
  readonly flushes: number;
  readonly seconds: number;
}

/** The figures of a run: messages a second, and how long a batch took. */
export interface PrimitiveResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export async function runPrimitive(
  primitive: Primitive,
  load: PrimitiveLoad,
): Promise<PrimitiveResult> {
  const { flush, threads } = ways[primitive];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(import.meta.dirname, "primitive-process.ts"), flush, JSON.stringify(load)],
    { env: { ...process.env, UV_THREADPOOL_SIZE: String(threads) } },
  );
  return JSON.parse(stdout) as PrimitiveResult;
}
