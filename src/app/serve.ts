/**
 * The wiring of the server, and the only place where the rooms meet: listeners take mail in, the
 * executor makes it durable, the face tells how it goes.
 *
 * Order matters twice. Starting: the data directory is locked before anything in it is touched, and
 * nobody is listened to before mail can be stored. Stopping: the listeners end first, so that every
 * message taken is answered, then the executor, then the face, then the lock.
 */
import { readFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { hostname as machineName } from "node:os";
import { join } from "node:path";
import { DeliveryExecutor, localDelivery } from "../delivery/index.ts";
import { createFace, createMetricsFace, listenHttp } from "../http/index.ts";
import { normaliseDomain } from "../mail/index.ts";
import { type MailServer, startMailServer } from "../smtp/index.ts";
import { systemClock } from "../system/index.ts";
import { type DataDirectory, lockDataDirectory, prepareDataDirectory } from "./data-directory.ts";
import { AppError } from "./errors.ts";
import { judge, mountOf } from "./file-system-check.ts";
import { monitorHealth } from "./health.ts";
import { listenError } from "./listen-error.ts";
import { localMailboxes, policyOf } from "./local-mailboxes.ts";
import type { Logger } from "./log.ts";
import { createMetrics } from "./metrics.ts";
import { observe } from "./observe.ts";
import { isLoopback, type ListenAddress, showListenAddress } from "./setting-kinds.ts";
import type { Settings } from "./settings-table.ts";
import { type Listener, statusOf } from "./status-figures.ts";

export interface ServeOptions {
  readonly settings: Settings;
  readonly log: Logger;
  /** Called when the disk thread died: the caller ends the process at once, without a farewell. */
  readonly onDiskThreadDeath: (cause: unknown) => void;
}

export interface RunningServer {
  readonly data: DataDirectory;
  readonly listeners: readonly Listener[];
  /**
   * Takes no more mail, answers for what was taken, and lets everything go. Idempotent.
   *
   * @returns What was left when the time was up; all zero after an orderly end.
   */
  close(options: { readonly timeoutMs: number }): Promise<Leftover>;
}

export interface Leftover {
  /** Messages cut off while they came in or were delivered; none of them was acknowledged. */
  readonly messages: number;
  /** Deliveries that were waiting or in flight then. */
  readonly deliveries: number;
}

/**
 * Starts the server; resolves once it accepts connections everywhere it shall.
 *
 * @throws {AppError} Whatever keeps it from starting, in words for its owner. Nothing is left running.
 */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { settings, log } = options;
  await using undo = new AsyncDisposableStack();

  const data = prepareDataDirectory(settings.data);
  checkFileSystem(data, settings, log);
  undo.defer(lockDataDirectory(data.path));

  const clock = systemClock;
  const startedAt = new Date(clock.wallTimeMs());
  const hostname = settings.hostname ?? normaliseDomain(machineName()) ?? "localhost";
  const mailboxPolicy = policyOf(settings);
  const domains = [...new Set(["localhost", ...settings.domain])];
  const mailboxes = localMailboxes({ mailRoot: data.mail, domains, policy: mailboxPolicy });

  const mailServers = new Map<"smtp" | "lmtp", MailServer>();
  const health = monitorHealth({
    mailRoot: data.mail,
    minFreeBytes: settings.minFreeBytes,
    clock,
    pending: () => executor.stats().pending,
    tryToStore: () => tryToStore(data),
  });
  const metrics = createMetrics({
    sessions: () => sessionsOf(mailServers),
    pending: () => executor.stats().pending,
    pendingBytes: () => executor.stats().pendingBytes,
    waiting: () => executor.stats().waiting,
    freeBytes: health.freeBytes,
    ready: async () => (await health.health()).ready,
  });
  const observer = observe({ ...options, metrics, health });

  const executor = await DeliveryExecutor.open({
    mailRoot: data.mail,
    maxBatch: settings.maxBatch,
    maxWaitMs: settings.maxWaitMs,
    maxConcurrentFlushes: settings.maxConcurrentFlushes,
    maxPendingBytes: settings.maxPendingBytes,
    ...(settings.maxPending !== undefined && { maxPending: settings.maxPending }),
    onEvent: observer.onDeliveryEvent,
  });
  undo.defer(() => executor.close());
  const deliver = observer.watch(
    localDelivery(executor, mailboxes.mailboxOf, {
      lineEndings: settings.storedLineEndings,
      onEvent: observer.onLocalDeliveryEvent,
    }),
  );

  async function listenForMail(protocol: "smtp" | "lmtp", listen: ListenAddress) {
    try {
      const server = await startMailServer({
        protocol,
        listen,
        hostname,
        deliver,
        checkRecipient: mailboxes.checkRecipient,
        limits: limitsOf(settings),
        storedLineEndings: settings.storedLineEndings,
        ...(settings.bareNewlines && { bareNewlines: settings.bareNewlines }),
        ...(settings.greetingDelayMs !== undefined && {
          greetingDelayMs: settings.greetingDelayMs,
        }),
        spoolDirectory: join(data.spool, protocol),
        postmasterDomain: settings.domain[0] ?? "localhost",
        clock,
        onEvent: observer.onSmtpEvent,
      });
      mailServers.set(protocol, server);
      undo.defer(() => server.close({ timeoutMs: 0 }));
      return server.address;
    } catch (cause) {
      throw listenError(protocol, listen, cause);
    }
  }

  async function listenForHttp(
    name: "http" | "metrics",
    listen: { readonly host: string; readonly port: number },
    face: ReturnType<typeof createFace>,
  ) {
    try {
      const listener = await listenHttp(face, listen);
      undo.defer(() => listener.close());
      return listener.address;
    } catch (cause) {
      throw listenError(name, listen, cause);
    }
  }

  // The face comes first: it is the first to start and the last to go, and says "stopping" between.
  const listeners: Listener[] = [];
  const readMetrics = () => metrics.registry.metrics();
  if (settings.http) {
    const face = createFace({
      loopback: isLoopback(settings.http),
      ...accessTokenOf(settings),
      health: health.health,
      metrics: readMetrics,
      status: async () =>
        statusOf({
          hostname,
          startedAt,
          listeners,
          domains,
          mailboxes: mailboxPolicy,
          health: await health.health(),
          freeBytes: await health.freeBytes(),
          sessions: sessionsOf(mailServers),
          delivery: executor.stats(),
        }),
    });
    const address = await listenForHttp("http", settings.http, face);
    listeners.push({ protocol: "HTTP", address: showListenAddress(address) });
  }
  if (settings.metrics) {
    const face = createMetricsFace({ metrics: readMetrics });
    const address = await listenForHttp("metrics", settings.metrics, face);
    listeners.push({ protocol: "metrics", address: showListenAddress(address) });
  }
  for (const protocol of ["lmtp", "smtp"] as const) {
    const listen = settings[protocol];
    if (!listen) continue;
    const address = await listenForMail(protocol, listen);
    listeners.unshift({
      protocol: protocol === "smtp" ? "SMTP" : "LMTP",
      address: showListenAddress(address),
    });
  }

  const running = undo.move();
  let closing: Promise<Leftover> | undefined;
  return {
    data,
    listeners,
    close({ timeoutMs }) {
      closing ??= stop(timeoutMs);
      return closing;
    },
  };

  async function stop(timeoutMs: number): Promise<Leftover> {
    const endMs = clock.now() + timeoutMs;
    health.stopping();
    const servers = [...mailServers.values()];
    let left: Leftover = { messages: 0, deliveries: 0 };
    // Set before the servers' own timers, so it looks at what they are about to cut off.
    const timer = clock.setTimeout(() => {
      const messages = servers.reduce((sum, server) => sum + server.stats().messages, 0);
      left = { messages, deliveries: executor.stats().pending };
    }, timeoutMs);
    await Promise.all(servers.map((server) => server.close({ timeoutMs })));
    clock.clearTimeout(timer);
    await executor.close({ timeoutMs: Math.max(0, endMs - clock.now()) });
    await running.disposeAsync();
    return left;
  }
}

/** Refuses, or warns of, a file system that cannot keep what a 250 promises. */
function checkFileSystem(data: DataDirectory, settings: Settings, log: Logger): void {
  const mount = mountOf(data.mail);
  if (mount === undefined) return;
  const verdict = judge(mount);
  if (verdict.kind === "keeps") return;
  if (verdict.kind === "loses" && settings.fileSystemCheck === "refuse") {
    throw new AppError(
      "ERR_APP_FILE_SYSTEM",
      `${verdict.text}, or accept the loss with --file-system-check warn`,
    );
  }
  log.warn({ folder: data.mail }, verdict.text);
}

function limitsOf(settings: Settings) {
  const { maxMessageBytes, maxRecipients, maxConnections, maxConnectionsPerIp } = settings;
  const { commandTimeoutMs, dataTimeoutMs, admissionTimeoutMs } = settings;
  return {
    maxMessageBytes,
    maxRecipients,
    maxConnections,
    maxConnectionsPerIp,
    commandTimeoutMs,
    dataTimeoutMs,
    admissionTimeoutMs,
  };
}

function accessTokenOf({ accessTokenFile }: Settings): { readonly accessToken?: string } {
  if (accessTokenFile === undefined) return {};
  let accessToken: string;
  try {
    accessToken = readFileSync(accessTokenFile, "utf8").trim();
  } catch (cause) {
    throw new AppError("ERR_APP_CONFIG_FILE", `Cannot read accessTokenFile: ${cause}`, { cause });
  }
  if (accessToken !== "") return { accessToken };
  throw new AppError("ERR_APP_CONFIG_FILE", `accessTokenFile ${accessTokenFile} is empty`);
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

function sessionsOf(servers: ReadonlyMap<string, MailServer>): Record<string, number> {
  return Object.fromEntries(
    [...servers].map(([protocol, server]) => [protocol, server.stats().connections]),
  );
}
