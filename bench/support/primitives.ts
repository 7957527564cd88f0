/**
 * Ways to make one batch durable, each run in a process of its own so that Node's thread pool can have
 * the size that the way asks for.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

/** What to flush with, and with how many threads of Node's pool. */
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
  /** Batches under way at once. */
  readonly flushes: number;
  readonly seconds: number;
}

/** What one way did: messages a second, and how long a batch took. */
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
