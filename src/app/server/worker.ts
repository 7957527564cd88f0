/**
 * A worker without a server: it sends mail that other machines put into a PostgreSQL outbox. Mail
 * for the domains in its settings is left to the server that has their mailboxes.
 */
import { Registry } from "prom-client";
import { createMetricsApp, type HttpListener } from "../../http/index.ts";
import { systemClock } from "../../system/index.ts";
import { dataDirectoryAt } from "../data-directory.ts";
import type { Logger } from "../observe/log.ts";
import { ownDomains, requireOutbox } from "../outbound/open-outbox.ts";
import { Outbound } from "../outbound/outbound.ts";
import { openSenders } from "../outbound/senders.ts";
import { showListenAddress } from "../settings/kinds.ts";
import type { Settings } from "../settings/table.ts";
import { listenForHttp } from "./listeners.ts";

export interface WorkerOptions {
  readonly settings: Settings;
  readonly log: Logger;
}

export interface RunningWorker {
  /** The address of `/metrics`; `undefined` when it is not served. */
  readonly metrics: string | undefined;
  /**
   * Claims no more mail and ends the sends in progress. Idempotent.
   *
   * @returns Deliveries whose outcome was open when the time was up.
   */
  close(options: { readonly timeoutMs: number }): Promise<number>;
}

/**
 * Starts a worker.
 *
 * @throws {AppError} The reason why it cannot start, unless it may pass by itself.
 */
export async function startWorker({ settings, log }: WorkerOptions): Promise<RunningWorker> {
  requireOutbox(settings);
  const registry = new Registry();
  const outbound = await Outbound.open({
    settings,
    log,
    senders: openSenders({ settings, captured: dataDirectoryAt(settings.data).captured }),
    registry,
    exceptRoutes: ownDomains(settings),
  });
  const app = createMetricsApp({ metrics: () => registry.metrics() });
  let listener: HttpListener | undefined;
  try {
    if (settings.metrics) listener = await listenForHttp("metrics", settings.metrics, app);
  } catch (error) {
    await outbound.close({ timeoutMs: 0 });
    throw error;
  }
  outbound.start();
  return {
    metrics: listener && showListenAddress(listener.address),
    async close({ timeoutMs }) {
      const endMs = systemClock.now() + timeoutMs;
      outbound.stop(timeoutMs);
      await listener?.close();
      return outbound.close({ timeoutMs: Math.max(0, endMs - systemClock.now()) });
    },
  };
}
