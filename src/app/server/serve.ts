/**
 * The wiring of the server: listeners take mail in, the engine makes it durable, mail out sends what is
 * for others, the face tells how it goes.
 *
 * Order matters twice. Starting: the data directory is locked before anything in it is touched, and
 * what an earlier process left in the journal is recovered before anybody is listened to. Stopping: the
 * mail listeners and the sender end first, so that every message taken is answered and every one sent is
 * recorded, then the executor, which publishes what it can, then the face, then the lock.
 */
import { readFileSync } from "node:fs";
import { hostname as machineName } from "node:os";
import { createFace, createMetricsFace } from "../../http/index.ts";
import { normaliseDomain } from "../../mail/index.ts";
import type { MailServer } from "../../smtp/index.ts";
import { systemClock } from "../../system/index.ts";
import {
  type DataDirectory,
  journalFolderOf,
  lockDataDirectory,
  prepareDataDirectory,
} from "../data-directory.ts";
import { judge, mountOf } from "../doctor/file-system-check.ts";
import { wayOut } from "../doctor/outbound-check.ts";
import { AppError, why } from "../errors.ts";
import { type Engine, openEngine } from "../inbound/engine.ts";
import { policyOf } from "../inbound/local-mailboxes.ts";
import { submission, takesMailForOthers } from "../inbound/submission.ts";
import type { Logger } from "../observe/log.ts";
import { createOutboxMetrics } from "../observe/outbox-metrics.ts";
import { type Listener, statusOf } from "../observe/status-figures.ts";
import { ownDomains } from "../outbound/open-outbox.ts";
import { MailOut } from "../outbound/outbound.ts";
import { openSenders } from "../outbound/senders.ts";
import { isLoopback, showListenAddress } from "../settings/kinds.ts";
import type { Settings } from "../settings/table.ts";
import { listenForHttp, listenForMail } from "./listeners.ts";

export interface ServeOptions {
  readonly settings: Settings;
  readonly log: Logger;
  /** Called when the disk thread died: the caller ends the process at once, without a farewell. */
  readonly onDiskThreadDeath: (cause: unknown) => void;
}

export interface RunningServer {
  readonly data: DataDirectory;
  readonly listeners: readonly Listener[];
  /** Where mail for other domains goes, such as `sent to the hosts of each domain`. */
  readonly wayOut: string;
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
  /** Mail that was being sent; the next worker takes it up. */
  readonly sending: number;
}

/** What the server calls itself and whose mail it takes. */
interface Identity {
  readonly hostname: string;
  readonly domains: readonly string[];
  readonly mailboxPolicy: "create" | "existing";
}

/** The order in which listeners are told of. */
const shown: readonly Listener["protocol"][] = ["smtp", "lmtp", "http", "metrics"];

type MailServers = Map<"smtp" | "lmtp", MailServer>;

/**
 * Starts the server; resolves once it accepts connections everywhere it shall.
 *
 * @throws {AppError} Whatever keeps it from starting, in words for its owner. Nothing is left running.
 */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { settings, log } = options;
  await using undo = new AsyncDisposableStack();
  const data = prepareDataDirectory(settings.data);
  for (const folder of promisingFolders(data, settings)) checkFileSystem(folder, settings, log);
  undo.defer(lockDataDirectory(data.path));

  const identity = identityOf(settings);
  const mailServers: MailServers = new Map();
  const sessions = () => sessionsOf(mailServers);
  const outboxObstacle = async () =>
    takesMailForOthers(settings) ? mailOut.obstacle() : undefined;
  const engine = await openEngine({ ...options, ...identity, data, sessions, outboxObstacle });
  undo.defer(() => engine.executor.close());
  const mailOut = await openMailOut({ ...options, data, engine });
  undo.defer(async () => void (await mailOut.close({ timeoutMs: 0 })));
  const listeners: Listener[] = [];

  // The face starts first and goes last, so that it can say "not ready" before and after.
  await openFaces({ settings, identity, engine, mailOut, sessions, listeners, undo });
  const taking = submission({
    settings,
    engine,
    outbox: () => mailOut.outbox,
    onQueued: (mail) => log.info(mail, "queued"),
    onFault: (error) => log.error(why(error), "not queued"),
  });
  for (const protocol of ["smtp", "lmtp"] as const) {
    const listen = settings[protocol];
    if (!listen) continue;
    const parts = { ...identity, protocol, listen, settings, data, engine, submission: taking };
    const server = await listenForMail(parts);
    mailServers.set(protocol, server);
    undo.defer(() => server.close({ timeoutMs: 0 }));
    listeners.push({ protocol, address: showListenAddress(server.address) });
  }

  mailOut.start();
  listeners.sort((one, other) => shown.indexOf(one.protocol) - shown.indexOf(other.protocol));
  const running = undo.move();
  let closing: Promise<Leftover> | undefined;
  const stop = async (timeoutMs: number) => {
    const left = await drain({ engine, mailOut, mailServers, timeoutMs });
    await running.disposeAsync();
    return left;
  };
  return {
    data,
    listeners,
    wayOut: wayOut(settings),
    close: ({ timeoutMs }) => {
      closing ??= stop(timeoutMs);
      return closing;
    },
  };
}

interface MailOutParts extends Pick<ServeOptions, "settings" | "log"> {
  readonly data: DataDirectory;
  readonly engine: Engine;
}

async function openMailOut({ settings, log, data, engine }: MailOutParts): Promise<MailOut> {
  const senders = openSenders({ settings, captured: data.captured, local: engine.deliver });
  const mailOut = await MailOut.open({ settings, log, senders });
  mailOut.onWorkerEvent = createOutboxMetrics(engine.metrics.registry, {
    stats: () => mailOut.stats(),
    inFlight: () => mailOut.inFlight(),
  });
  return mailOut;
}

/** Refuses, or warns of, a file system that cannot keep what a 250 promises. */
function checkFileSystem(folder: string, settings: Settings, log: Logger): void {
  const mount = mountOf(folder);
  if (mount === undefined) return;
  const verdict = judge(mount);
  if (verdict.kind === "keeps") return;
  if (verdict.kind === "loses" && settings.fileSystemCheck === "refuse") {
    throw new AppError(
      "ERR_APP_FILE_SYSTEM",
      `${verdict.text}, or accept the loss with --file-system-check warn`,
    );
  }
  log.warn({ folder }, verdict.text);
}

/** The folders that must keep what a 250 promises; one where they lie on the same file system. */
function promisingFolders(data: DataDirectory, settings: Settings): string[] {
  if (settings.commit === "synced") return [data.mail];
  const journal = journalFolderOf(settings);
  const isSame = mountOf(journal)?.mountPoint === mountOf(data.mail)?.mountPoint;
  return isSame ? [data.mail] : [data.mail, journal];
}

function identityOf(settings: Settings): Identity {
  return {
    hostname: settings.hostname ?? normaliseDomain(machineName()) ?? "localhost",
    domains: ownDomains(settings),
    mailboxPolicy: policyOf(settings),
  };
}

interface FaceParts {
  readonly settings: Settings;
  readonly identity: Identity;
  readonly engine: Engine;
  readonly mailOut: MailOut;
  readonly sessions: () => Readonly<Record<string, number>>;
  readonly listeners: Listener[];
  readonly undo: AsyncDisposableStack;
}

async function openFaces(parts: FaceParts): Promise<void> {
  const { settings, identity, engine, mailOut, sessions, listeners, undo } = parts;
  const { health, metrics, executor, journal } = engine;
  const startedAt = new Date(systemClock.wallTimeMs());
  const readMetrics = () => metrics.registry.metrics();
  const status = async () =>
    statusOf({
      ...identity,
      mailboxes: identity.mailboxPolicy,
      startedAt,
      listeners,
      health: await health.health(),
      freeBytes: await health.freeBytes(),
      sessions: sessions(),
      delivery: executor.stats(),
      journalFolder: journal.folder,
      recovery: journal.recovery(),
      orphans: await journal.orphans(),
      outbound: { settings, stats: await mailOut.stats() },
    });
  if (settings.http) {
    const loopback = isLoopback(settings.http);
    const face = createFace({
      loopback,
      ...accessTokenOf(settings),
      health: health.health,
      metrics: readMetrics,
      status,
    });
    const listener = await listenForHttp("http", settings.http, face);
    undo.defer(() => listener.close());
    listeners.push({ protocol: "http", address: showListenAddress(listener.address) });
  }
  if (settings.metrics) {
    const face = createMetricsFace({ metrics: readMetrics });
    const listener = await listenForHttp("metrics", settings.metrics, face);
    undo.defer(() => listener.close());
    listeners.push({ protocol: "metrics", address: showListenAddress(listener.address) });
  }
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

interface DrainParts {
  readonly engine: Engine;
  readonly mailOut: MailOut;
  readonly mailServers: MailServers;
  readonly timeoutMs: number;
}

/** Ends the sessions, then commits what they left; says what was cut off when the time was up. */
async function drain({ engine, mailOut, mailServers, timeoutMs }: DrainParts): Promise<Leftover> {
  const { health, executor } = engine;
  const endMs = systemClock.now() + timeoutMs;
  const servers = [...mailServers.values()];
  let cutOff = { messages: 0, deliveries: 0 };
  health.stopping();
  // Set before the servers set theirs, so it looks at what they are about to cut off.
  const timer = systemClock.setTimeout(() => {
    const messages = servers.reduce((sum, server) => sum + server.stats().messages, 0);
    cutOff = { messages, deliveries: executor.stats().pending };
  }, timeoutMs);
  mailOut.stop(timeoutMs);
  await Promise.all(servers.map((server) => server.close({ timeoutMs })));
  const sending = await mailOut.close({ timeoutMs: Math.max(0, endMs - systemClock.now()) });
  systemClock.clearTimeout(timer);
  await executor.close({ timeoutMs: Math.max(0, endMs - systemClock.now()) });
  return { ...cutOff, sending };
}

function sessionsOf(servers: MailServers): Record<string, number> {
  return Object.fromEntries(
    [...servers].map(([protocol, server]) => [protocol, server.stats().connections]),
  );
}
