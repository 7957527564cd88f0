/**
 * Opens the HTTP listeners of a server: the status app at the address of the setting `http`, and
 * `/metrics` alone at that of the setting `metrics`. Called by serve.ts.
 */
import { readFileSync } from "node:fs";
import { createMetricsApp, createStatusApp } from "../../http/index.ts";
import { systemClock } from "../../system/index.ts";
import { AppError } from "../errors.ts";
import type { Engine } from "../inbound/engine.ts";
import { type Listener, statusOf } from "../observe/status-figures.ts";
import type { Outbound } from "../outbound/outbound.ts";
import { isLoopback, showListenAddress } from "../settings/kinds.ts";
import type { Settings } from "../settings/table.ts";
import { listenForHttp } from "./listeners.ts";

export interface StatusListenersOptions {
  readonly settings: Settings;
  readonly identity: {
    readonly hostname: string;
    readonly domains: readonly string[];
    readonly mailboxPolicy: "create" | "existing";
  };
  readonly engine: Engine;
  readonly outbound: Outbound;
  readonly sessions: () => Readonly<Record<string, number>>;
  /** All listeners of the server, for the status page; the HTTP listeners are added here. */
  readonly listeners: Listener[];
  /** The stack to which the closing of each opened listener is added. */
  readonly undo: AsyncDisposableStack;
}

/**
 * Opens the HTTP listeners whose settings are not `off`.
 *
 * @throws {AppError} `ERR_APP_LISTEN` for an address, `ERR_APP_CONFIG_FILE` for a token file that
 *   cannot be read or is empty.
 */
export async function openStatusListeners(options: StatusListenersOptions): Promise<void> {
  const { settings, engine, listeners, undo } = options;
  const metrics = () => engine.metrics.registry.metrics();
  if (settings.http) {
    const app = createStatusApp({
      isLoopback: isLoopback(settings.http),
      accessToken: accessTokenOf(settings),
      health: engine.health.health,
      metrics,
      status: statusSource(options),
    });
    const listener = await listenForHttp("http", settings.http, app);
    undo.defer(() => listener.close());
    listeners.push({ protocol: "http", address: showListenAddress(listener.address) });
  }
  if (settings.metrics) {
    const listener = await listenForHttp(
      "metrics",
      settings.metrics,
      createMetricsApp({ metrics }),
    );
    undo.defer(() => listener.close());
    listeners.push({ protocol: "metrics", address: showListenAddress(listener.address) });
  }
}

function statusSource(options: StatusListenersOptions) {
  const { settings, identity, engine, outbound, sessions, listeners } = options;
  const { health, journal, stats } = engine;
  const startedAt = new Date(systemClock.wallTimeMs());
  return async () =>
    statusOf({
      hostname: identity.hostname,
      domains: identity.domains,
      mailboxes: identity.mailboxPolicy,
      startedAt,
      listeners,
      health: await health.health(),
      freeBytes: await health.freeBytes(),
      sessions: sessions(),
      delivery: stats(),
      journalFolder: journal.folder,
      recovery: journal.recovery(),
      orphans: await journal.orphans(),
      outbound: { settings, stats: await outbound.stats() },
    });
}

function accessTokenOf({ accessTokenFile }: Settings): string | undefined {
  if (accessTokenFile === undefined) return undefined;
  let token: string;
  try {
    token = readFileSync(accessTokenFile, "utf8").trim();
  } catch (cause) {
    throw new AppError("ERR_APP_CONFIG_FILE", `Cannot read accessTokenFile: ${cause}`, { cause });
  }
  if (token !== "") return token;
  throw new AppError("ERR_APP_CONFIG_FILE", `accessTokenFile ${accessTokenFile} is empty`);
}
