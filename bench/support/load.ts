/** Runs the load generator in its own process, and says what it measured. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

export interface LoadOptions {
  readonly port: number;
  readonly protocol: "smtp" | "lmtp";
  /** Clients at work at once; each sends its next message when the last one is answered. */
  readonly connections: number;
  /** Recipients are `u0` to `u<n-1>` at `domain`, drawn at random. */
  readonly mailboxes: number;
  readonly domain: string;
  /** Octets of the body, in lines of 76; the header has 137 with its blank line. */
  readonly bodyBytes: number;
  /** Sends on one connection per client instead of a new one for each message. */
  readonly keep: boolean;
  readonly warmupSeconds: number;
  readonly seconds: number;
  /** Sends this many messages, without warm-up, instead of for `seconds`. */
  readonly total?: number;
  /** Follows some of the messages into the mailbox. */
  readonly follow?: Followed;
}

/** One message in `every` goes to a mailbox of its own, in which nothing else happens. */
export interface Followed {
  readonly localPart: string;
  /** The `new/` of that mailbox, which exists. */
  readonly directory: string;
  readonly every: number;
}

export interface LoadResult {
  /** Messages measured; each was accepted with a 250. */
  readonly messages: number;
  /** All that were accepted, before and after measuring too. */
  readonly accepted: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly errors: number;
  /** What went wrong, such as `message: 452 4.3.1 …`, and how often. */
  readonly errorTexts: Readonly<Record<string, number>>;
  /** What the generator itself took of the machine. */
  readonly cpuSeconds: number;
  /** From the 250 to the file in `new/`; only of messages that were followed. */
  readonly visible?: VisibleResult;
}

export interface VisibleResult {
  readonly messages: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Not in `new/` when the patience of the generator was at its end. */
  readonly missing: number;
}

/** The shape of the headline: 32 clients, a new connection for each message, 1,163 octets, one mailbox. */
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

/** Sends until the time or the messages are used up; rejects when the generator fails. */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const worker = join(import.meta.dirname, "load-worker.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [worker, JSON.stringify(options)]);
  return JSON.parse(stdout) as LoadResult;
}
