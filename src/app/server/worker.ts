/**
 * A worker without a server: it sends what other machines put into a PostgreSQL outbox. Mail for the
 * domains named to it is left to the server that has their mailboxes.
 */
import { Registry } from "prom-client";
import { createMetricsFace, type HttpListener } from "../../http/index.ts";
import { systemClock } from "../../system/index.ts";
import { dataDirectoryAt } from "../data-directory.ts";
import type { Logger } from "../observe/log.ts";
import { createOutboxMetrics } from "../observe/outbox-metrics.ts";
import { ownDomains, requireOutbox } from "../outbound/open-outbox.ts";
import { MailOut } from "../outbound/outbound.ts";
import { openSenders } from "../outbound/senders.ts";
import { showListenAddress } from "../settings/kinds.ts";
import type { Settings } from "../settings/table.ts";
import { listenForHttp } from "./listeners.ts";

export interface WorkerOptions {
  readonly settings: Settings;
  readonly log: Logger;
}

export interface RunningWorker {
  /** Where `/metrics` is served, if anywhere. */
  readonly metrics: string | undefined;
  /**
   * Takes nothing new and ends what is being sent. Idempotent.
   *
   * @returns Deliveries whose outcome was open when the time was up.
   */
  close(options: { readonly timeoutMs: number }): Promise<number>;
}

/** Starts a worker. @throws {AppError} whatever keeps it from starting and does not pass by itself. */
export async function startWorker({ settings, log }: WorkerOptions): Promise<RunningWorker> {
  requireOutbox(settings);
  const senders = openSenders({ settings, captured: dataDirectoryAt(settings.data).captured });
  const mailOut = await MailOut.open({
    settings,
    log,
    senders,
    exceptRoutes: ownDomains(settings),
  });
  const registry = new Registry();
  mailOut.onWorkerEvent = createOutboxMetrics(registry, {
    stats: () => mailOut.stats(),
    inFlight: () => mailOut.inFlight(),
  });
  const face = createMetricsFace({ metrics: () => registry.metrics() });
  let listener: HttpListener | undefined;
  try {
    if (settings.metrics) listener = await listenForHttp("metrics", settings.metrics, face);
  } catch (error) {
    await mailOut.close({ timeoutMs: 0 });
    throw error;
  }
  mailOut.start();
  return {
    metrics: listener && showListenAddress(listener.address),
    async close({ timeoutMs }) {
      const endMs = systemClock.now() + timeoutMs;
      mailOut.stop(timeoutMs);
      await listener?.close();
      return mailOut.close({ timeoutMs: Math.max(0, endMs - systemClock.now()) });
    },
  };
}
