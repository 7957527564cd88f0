/**
 * `postbag worker`: sends mail of an outbox without receiving any, usually from a PostgreSQL outbox
 * that several machines share. It leaves mail for the domains in its settings to the server that
 * has their mailboxes.
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
  /** The address of `/metrics`; `undefined` when the setting `metrics` is off. */
  readonly metrics: string | undefined;
  /**
   * Claims no more mail and waits at most `timeoutMs` for the sends in progress. Idempotent.
   *
   * @returns The number of deliveries whose outcome was unknown at the time limit.
   */
  close(options: { readonly timeoutMs: number }): Promise<number>;
}

/**
 * Starts a worker. An outbox that cannot be opened now does not stop the start: opening is retried.
 *
 * @throws {AppError} Any other reason why the worker cannot start, such as `ERR_APP_NOT_FOUND`.
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
