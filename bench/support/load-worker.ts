/**
 * The load generator for SMTP and LMTP: a closed loop of clients (load-client.ts), each with one
 * message in progress. load.ts runs it in a process of its own, so that its processor time is not
 * counted as the bench's; it prints its {@link LoadResult} as one line of JSON.
 */
import type { LoadOptions, LoadResult } from "./load.ts";
import { LoadClient } from "./load-client.ts";
import { watchNew } from "./visibility.ts";

const startUp = process.cpuUsage();
/** How long to wait after the load until the last followed messages are visible. */
const patienceMs = 10_000;

const options = JSON.parse(process.argv[2] ?? "") as LoadOptions;
console.log(JSON.stringify(await generate(options)));
process.exit(0);

async function generate(options: LoadOptions): Promise<LoadResult> {
  const { connections, mailboxes, domain, total, follow } = options;
  const rcptOf = (localPart: string) => Buffer.from(`RCPT TO:<${localPart}@${domain}>\r\n`);
  const rcpts = Array.from({ length: mailboxes }, (_, box) => rcptOf(`u${box}`));
  const draw = drawFrom(rcpts);
  const followedRcpt = follow && rcptOf(follow.localPart);
  const arrivals = follow && watchNew(follow.directory);
  let drawn = 0;
  const latencies: number[] = [];
  const errors: string[] = [];
  let issued = 0;
  let accepted = 0;
  let measuring = total !== undefined;
  let stopping = false;

  const clientOptions = {
    port: options.port,
    hello: Buffer.from(`${options.protocol === "lmtp" ? "LHLO" : "EHLO"} bench.local\r\n`),
    nextRcpt: () => (followedRcpt && drawn++ % follow.every === 0 ? followedRcpt : draw()),
    message: messageOf(options.bodyBytes),
    keep: options.keep,
    mayStart: () => !stopping && errors.length < 1_000 && (total === undefined || issued++ < total),
    onAccepted: (rcpt: Buffer) => {
      accepted += 1;
      if (rcpt === followedRcpt) arrivals?.accepted(measuring);
    },
    onSent: (latencyMs: number) => {
      if (measuring) latencies.push(latencyMs);
    },
    onError: (why: string) => errors.push(why),
  };

  let startedAt = performance.now();
  const clients = Promise.all(
    Array.from({ length: connections }, () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      new LoadClient({ ...clientOptions, onEnd: resolve }).next();
      return promise;
    }),
  );
  let endedAt: number | undefined;
  if (total === undefined) {
    await after(options.warmupSeconds);
    measuring = true;
    startedAt = performance.now();
    await after(options.seconds);
    measuring = false;
    stopping = true;
    endedAt = performance.now();
  }
  await clients;
  const tookMs = (endedAt ?? performance.now()) - startedAt;
  const visible = await arrivals?.result(patienceMs);
  return { ...resultOf(latencies, tookMs, accepted, errors), ...(visible && { visible }) };
}

/** Draws by a linear congruential generator (Numerical Recipes), alike in every run. */
function drawFrom<T>(all: readonly T[]): () => T {
  let random = 1;
  return () => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return all[(random >>> 8) % all.length]!;
  };
}

function after(seconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1_000);
  });
}

/** A message with 137 bytes of header, a body in lines of 76 characters, and the final dot. */
function messageOf(bodyBytes: number): Buffer {
  const head = [
    "From: sender@bench.local",
    "To: bob@bench.local",
    "Subject: bench",
    "Date: Mon, 01 Jan 2030 00:00:00 +0000",
    "Message-ID: <bench@bench.local>",
    "",
    "",
  ].join("\r\n");
  const line = `${"x".repeat(76)}\r\n`;
  const body = Buffer.alloc(bodyBytes, line);
  body.fill("x", bodyBytes - (bodyBytes % line.length));
  return Buffer.concat([Buffer.from(head), body, Buffer.from("\r\n.\r\n")]);
}

function resultOf(
  latencies: readonly number[],
  durationMs: number,
  accepted: number,
  errors: readonly string[],
): LoadResult {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
  const cpu = process.cpuUsage(startUp);
  return {
    messages: sorted.length,
    accepted,
    perSecond: sorted.length / (durationMs / 1_000),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    p999Ms: at(0.999),
    maxMs: at(1),
    errors: errors.length,
    errorTexts: countOf(errors),
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
  };
}

function countOf(texts: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const text of texts) counts[text] = (counts[text] ?? 0) + 1;
  return counts;
}
