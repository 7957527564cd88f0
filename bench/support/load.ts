/** Runs the load generator (load-worker.ts) in a child process, and returns its figures. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

export interface LoadOptions {
  readonly port: number;
  readonly protocol: "smtp" | "lmtp";
  /** The number of clients; each sends its next message when its last one is answered. */
  readonly connections: number;
  /** The number n of recipients, `u0` to `u<n-1>` at `domain`, drawn at random. */
  readonly mailboxes: number;
  readonly domain: string;
  /** Bytes of the body, in lines of 76 characters; the header has 137 bytes with its blank line. */
  readonly bodyBytes: number;
  /** Whether each client has one connection; if not, each message has a new one. */
  readonly keep: boolean;
  readonly warmupSeconds: number;
  readonly seconds: number;
  /** Messages to send in all, without warm-up. @defaultValue the load ends after `seconds` */
  readonly total?: number;
  /** Measures when some messages become visible. @defaultValue no message is followed */
  readonly follow?: Followed;
}

/** One message in `every` goes to the mailbox of `localPart`, which gets no other mail. */
export interface Followed {
  readonly localPart: string;
  /** The `new/` of the mailbox of `localPart`, which exists. */
  readonly directory: string;
  readonly every: number;
}

export interface LoadResult {
  /** Messages that were accepted with a 250 while measuring. */
  readonly messages: number;
  /** Messages that were accepted before, while and after measuring. */
  readonly accepted: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly errors: number;
  /** The count of each error, by its text, such as `message: 452 4.3.1 …`. */
  readonly errorTexts: Readonly<Record<string, number>>;
  /** Processor time of the load generator. */
  readonly cpuSeconds: number;
  /** From the 250 to the file in `new/`, of the followed messages; undefined without `follow`. */
  readonly visible?: VisibleResult;
}

export interface VisibleResult {
  readonly messages: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Followed messages that were not in `new/` ten seconds after the load. */
  readonly missing: number;
}

/** The load of the headline: 32 clients, a new connection a message, 1,163 bytes, one mailbox. */
export const headline: Omit<LoadOptions, "port"> = {
  protocol: "smtp",
  connections: 32,
  mailboxes: 1,
  domain: "bench.local",
  bodyBytes: 1_024,
  keep: false,
  warmupSeconds: 2,
  seconds: 6,
};

/** Sends for `seconds`, or `total` messages; rejects when the child process fails. */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const worker = join(import.meta.dirname, "load-worker.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [worker, JSON.stringify(options)]);
  return JSON.parse(stdout) as LoadResult;
}
