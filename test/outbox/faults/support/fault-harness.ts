/** A store, a server that takes down what it was given, workers here and in other processes. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type OutboxStore, Worker, type WorkerOptions } from "../../../../src/outbox/index.ts";
import { type ClientOptions, relayClient, type SessionTarget } from "../../../../src/smtp/index.ts";
import { type Clock, systemClock } from "../../../../src/system/index.ts";
import { atEnd } from "../../../process/support/postbag.ts";
import { type SinkOptions, type SmtpSink, startSmtpSink } from "../../../support/smtp-sink.ts";
import { Ledger } from "./outbox-expectations.ts";
import { openStoreAt, type Place } from "./place.ts";
import { quickWorker } from "./quick-worker.ts";
import type { WorkerProgramOptions } from "./worker-program.ts";

/** Leases of workers in these tests: short, so that what is lost is soon found. */
export const leaseMs = 600;

/** How much longer than usual the random tests are. */
export const rounds = Number(process.env.POSTBAG_FAULT_ROUNDS ?? 1);

const patienceMs = 120_000;
const program = join(import.meta.dirname, "worker-program.ts");

export interface Lab {
  readonly place: Place;
  readonly store: OutboxStore;
  readonly sink: SmtpSink;
  readonly ledger: Ledger;
  /** A worker in this process, not started. */
  worker(options?: Partial<WorkerOptions>, client?: LabClient): Worker;
  /** A worker in a process of its own, at work. */
  spawn(options?: Partial<WorkerProgramOptions>): Promise<ChildProcess>;
}

export type LabClient = Partial<ClientOptions> & {
  readonly port?: number;
  readonly relay?: Partial<SessionTarget>;
};

export interface LabOptions {
  readonly place?: Place;
  readonly sink?: SinkOptions;
  readonly clock?: Clock;
}

export async function faultLab(t: TestContext, options: LabOptions = {}): Promise<Lab> {
  const place = options.place ?? { kind: "sqlite", file: temporaryFile(t) };
  const store = await openStoreAt(place, options.clock);
  const sink = await startSmtpSink(options.sink);
  atEnd(t, () => sink[Symbol.asyncDispose]());
  atEnd(t, () => store.close());
  const ledger = new Ledger(store, sink);

  function worker(more: Partial<WorkerOptions> = {}, client: LabClient = {}): Worker {
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
      name: `worker ${++ledger.workers}`,
      ...more,
    });
    atEnd(t, async () => {
      await made.stop({ drainMs: 0, replyMs: 0 });
      await relay.close();
    });
    return made;
  }

  async function spawnWorker(more: Partial<WorkerProgramOptions> = {}): Promise<ChildProcess> {
    const name = `process ${++ledger.workers}`;
    const given = { place, port: sink.port, name, leaseMs, concurrency: 1, ...more };
    const child = spawn(process.execPath, [program, JSON.stringify(given)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = once(child, "exit");
    child.stdin?.on("error", () => {});
    atEnd(t, async () => {
      child.stdin?.end();
      child.kill("SIGCONT");
      await ended;
    });
    await Promise.race([once(child.stdout as NonNullable<typeof child.stdout>, "data"), ended]);
    return child;
  }
  return { place, store, sink, ledger, worker, spawn: spawnWorker };
}

export function temporaryFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "postbag-faults-"));
  atEnd(t, () => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "outbox.db");
}

/** A clock whose wall time a test moves, for the store; waits are real. */
export class MovedClock implements Clock {
  offsetMs = 0;
  readonly now = systemClock.now;
  readonly setTimeout = systemClock.setTimeout;
  readonly clearTimeout = systemClock.clearTimeout;
  readonly setImmediate = systemClock.setImmediate;

  wallTimeMs(): number {
    return systemClock.wallTimeMs() + this.offsetMs;
  }
}

/** Works until everything has ended, an hour of the store's time after the other. */
export async function carryAll(worker: Worker, ledger: Ledger, clock: MovedClock): Promise<void> {
  for (let hours = 0; hours < 48; hours += 1) {
    await worker.tick();
    if (await ledger.isOver()) return;
    clock.offsetMs += 3_600_000;
  }
  assert.fail("not over after two days");
}

/** Waits for a fact to become true in another process, by looking; fails when it takes two minutes. */
export async function become(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const lastLook = Date.now() + patienceMs;
  for (;;) {
    if (await isSo()) return;
    assert.ok(Date.now() < lastLook, `still not so after two minutes: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until a process ended by the signal it was to end by. */
export async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  assert.equal(child.signalCode, "SIGKILL", `the worker ended with ${child.exitCode}`);
}
