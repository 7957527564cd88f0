/**
 * Opens the HTTP listeners of a server: the status app, and `/metrics` at an address of its own.
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
  /** All listeners of the server; those opened here are added. */
  readonly listeners: Listener[];
  /** Receives the closing of these listeners. */
  readonly undo: AsyncDisposableStack;
}

/**
 * Opens the listeners that the settings ask for.
 *
 * @throws {AppError} `_LISTEN` or `_CONFIG_FILE`.
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
