/**
 * The fault harness: a store, a mail server that records every message it gets, workers in this
 * process and in others.
 *
 * Leases are long, so that no worker loses one because the machine is slow. A test that needs a
 * lease to run out sets the clock of the store (`expireLeases`) or asks for `shortLeaseMs`.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type OutboxStore, Worker, type WorkerOptions } from "../../../../src/outbox/index.ts";
import { type ClientOptions, relayClient, type SessionTarget } from "../../../../src/smtp/index.ts";
import { compileCache } from "../../../process/support/postbag.ts";
import type { SimClock } from "../../../support/sim-clock.ts";
import { type SinkOptions, type SmtpSink, startSmtpSink } from "../../../support/smtp-sink.ts";
import { atEnd, temporaryDirectory } from "../../../support/temporary.ts";
import { OutboxExpectations } from "./outbox-expectations.ts";
import { quickWorker } from "./quick-worker.ts";
import { type StoreClock, sqliteClock } from "./store-clock.ts";
import { openStoreAt, type StoreLocation } from "./store-location.ts";
import type { WorkerProgramOptions } from "./worker-program.ts";

export const leaseMs = 30_000;

/** For tests in which a lease runs out in real time. */
export const shortLeaseMs = 600;

/** How much longer than usual the random tests are. */
export const rounds = Number(process.env.POSTBAG_FAULT_ROUNDS ?? 1);

const hourMs = 3_600_000;
const maxWaitMs = 120_000;
const program = join(import.meta.dirname, "worker-program.ts");

export interface FaultHarness {
  readonly location: StoreLocation;
  readonly store: OutboxStore;
  readonly sink: SmtpSink;
  readonly expectations: OutboxExpectations;
  /** Makes a worker in this process, not started. */
  worker(options?: Partial<WorkerOptions>, client?: HarnessClient): Worker;
  /** Starts a worker in a process of its own; resolves when it works, or has ended. */
  spawn(options?: Partial<WorkerProgramOptions>): Promise<ChildProcess>;
  /** Sets the clock of the store forward, or back. */
  step(ms: number): Promise<void>;
  /** Sets the clock of the store past the end of every lease. */
  expireLeases(): Promise<void>;
}

export type HarnessClient = Partial<ClientOptions> & {
  readonly port?: number;
  readonly relay?: Partial<SessionTarget>;
};

interface FaultHarnessOptions {
  /** @defaultValue a new SQLite file */
  readonly location?: StoreLocation;
  readonly sink?: SinkOptions;
  /** @defaultValue one of an SQLite store */
  readonly storeClock?: StoreClock;
}

export async function faultHarness(
  t: TestContext,
  options: FaultHarnessOptions = {},
): Promise<FaultHarness> {
  const { location = { kind: "sqlite", file: temporaryFile(t) }, storeClock = sqliteClock() } =
    options;
  const { clock } = storeClock;
  const store = await openStoreAt(location, clock);
  const sink = await startSmtpSink(options.sink);
  atEnd(t, () => sink[Symbol.asyncDispose]());
  atEnd(t, () => store.close());
  const expectations = new OutboxExpectations(store, sink);

  function worker(more: Partial<WorkerOptions> = {}, client: HarnessClient = {}): Worker {
    const { port = sink.port, relay: target, ...clientOptions } = client;
    const relay = relayClient({
      name: "worker.example",
      ...clientOptions,
      relay: { host: "127.0.0.1", port, tls: "never", ...target },
    });
    const made = new Worker({
      ...quickWorker,
      store,
      senderOf: () => relay.deliver,
      leaseMs,
      name: `worker ${++expectations.workers}`,
      ...more,
    });
    atEnd(t, async () => {
      await made.stop({ drainMs: 0, replyMs: 0 });
      await relay.close();
    });
    return made;
  }

  async function spawnWorker(more: Partial<WorkerProgramOptions> = {}): Promise<ChildProcess> {
    const given: WorkerProgramOptions = {
      location,
      clockOffsetMs: clock.offsetMs,
      port: sink.port,
      name: `process-${++expectations.workers}.example`,
      leaseMs,
      concurrency: 1,
      ...more,
    };
    const child = spawn(process.execPath, [program, JSON.stringify(given)], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
    });
    const ended = once(child, "exit");
    child.stdin.on("error", () => {});
    atEnd(t, async () => {
      child.stdin.end();
      child.kill("SIGCONT");
      await ended;
    });
    await Promise.race([once(child.stdout, "data"), ended]);
    return child;
  }

  return {
    location,
    store,
    sink,
    expectations,
    worker,
    spawn: spawnWorker,
    step: storeClock.step,
    expireLeases: () => storeClock.step(leaseMs + 1),
  };
}

export function temporaryFile(t: TestContext): string {
  const folder = temporaryDirectory(t, "faults");
  return join(folder, "outbox.db");
}

/** Ticks, an hour of the store's time after the other, until every delivery has ended. */
export async function tickUntilEnded(
  worker: Worker,
  { expectations, step }: Pick<FaultHarness, "expectations" | "step">,
): Promise<void> {
  for (let hours = 0; hours < 48; hours += 1) {
    await worker.tick();
    if (await expectations.haveEnded()) return;
    await step(hourMs);
  }
  assert.fail("not every delivery has ended after two days");
}

const clientWaitMs = 1_000;

/**
 * For an SMTP client on a `SimClock`: every time limit is the same, and shorter than its other
 * timers.
 */
export const clientTimeouts = {
  connectMs: clientWaitMs,
  greetingMs: clientWaitMs,
  commandMs: clientWaitMs,
  dataMs: clientWaitMs,
  blockMs: clientWaitMs,
  finalDotMs: clientWaitMs,
};

/** Lets the time limit of such a client pass, as soon as the client waits for its server. */
export async function endClientWait(clock: SimClock): Promise<void> {
  await eventually("the client waits for its server", () => {
    const nextAtMs = clock.nextTimerAtMs ?? Number.POSITIVE_INFINITY;
    return nextAtMs <= clock.now() + clientWaitMs;
  });
  clock.fireNextTimer();
}

/** Polls until a condition is met, in another process perhaps; fails after two minutes. */
export async function eventually(
  what: string,
  isMet: () => boolean | Promise<boolean>,
): Promise<void> {
  const untilMs = performance.now() + maxWaitMs;
  while (!(await isMet())) {
    assert.ok(performance.now() < untilMs, `not met after two minutes: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Waits until a process has ended, and checks that SIGKILL ended it. */
export async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  assert.equal(child.signalCode, "SIGKILL", `the worker ended with ${child.exitCode}`);
}
