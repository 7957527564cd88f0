/**
 * The engine behind the listeners: finds the mailbox of a recipient, makes messages durable, and keeps
 * an eye on how that goes.
 */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { DeliveryExecutor, localDelivery } from "../delivery/index.ts";
import type { Deliver } from "../mail/index.ts";
import { systemClock } from "../system/index.ts";
import type { DataDirectory } from "./data-directory.ts";
import { type HealthMonitor, monitorHealth } from "./health.ts";
import { type LocalMailboxes, localMailboxes } from "./local-mailboxes.ts";
import type { Logger } from "./log.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { type Observer, observe } from "./observe.ts";
import type { Settings } from "./settings-table.ts";

export interface Engine {
  readonly deliver: Deliver;
  readonly checkRecipient: LocalMailboxes["checkRecipient"];
  readonly executor: DeliveryExecutor;
  readonly health: HealthMonitor;
  readonly metrics: Metrics;
  readonly onSmtpEvent: Observer["onSmtpEvent"];
}

export interface EngineOptions {
  readonly settings: Settings;
  readonly data: DataDirectory;
  readonly domains: readonly string[];
  readonly mailboxPolicy: "create" | "existing";
  readonly log: Logger;
  /** Open sessions by protocol. */
  readonly sessions: () => Readonly<Record<string, number>>;
  readonly onDiskThreadDeath: (cause: unknown) => void;
}

/** Opens the engine; whoever opened it closes its executor. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { settings, data, domains, mailboxPolicy, log, sessions, onDiskThreadDeath } = options;
  const health = monitorHealth({
    mailRoot: data.mail,
    minFreeBytes: settings.minFreeBytes,
    clock: systemClock,
    pending: () => executor.stats().pending,
    tryToStore: () => tryToStore(data),
  });
  const metrics = createMetrics({
    sessions,
    pending: () => executor.stats().pending,
    pendingBytes: () => executor.stats().pendingBytes,
    waiting: () => executor.stats().waiting,
    freeBytes: health.freeBytes,
    ready: async () => (await health.health()).ready,
  });
  const observer = observe({ log, metrics, health, onDiskThreadDeath });
  const executor = await DeliveryExecutor.open({
    mailRoot: data.mail,
    maxBatch: settings.maxBatch,
    maxWaitMs: settings.maxWaitMs,
    maxConcurrentFlushes: settings.maxConcurrentFlushes,
    maxPendingBytes: settings.maxPendingBytes,
    ...(settings.maxPending !== undefined && { maxPending: settings.maxPending }),
    onEvent: observer.onDeliveryEvent,
  });
  const mailboxes = localMailboxes({ mailRoot: data.mail, domains, policy: mailboxPolicy });
  const deliver = localDelivery(executor, mailboxes.mailboxOf, {
    lineEndings: settings.storedLineEndings,
    onEvent: observer.onLocalDeliveryEvent,
  });
  return {
    deliver,
    checkRecipient: mailboxes.checkRecipient,
    executor,
    health,
    metrics,
    onSmtpEvent: observer.onSmtpEvent,
  };
}

/** Off the event loop's thread, because the disk has just shown that it may not answer. */
async function tryToStore(data: DataDirectory): Promise<void> {
  const path = join(data.path, "probe");
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile("Postbag tries whether the disk keeps this.\n");
    await file.datasync();
  } finally {
    await file.close();
    await rm(path);
  }
}
