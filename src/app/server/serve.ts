/**
 * Wires the server of `postbag serve`: listeners receive mail, the engine makes it durable,
 * outbound sends mail for other domains, the status app reports on all of them.
 *
 * Start order: lock the data directory before any mail in it is touched; open and recover the
 * journal before a listener opens. A journal that cannot be opened yet does not stop the start: the
 * listeners open and answer 451 until it is open. Stop order: the mail listeners and the outbound
 * worker, so that every accepted message is answered and every sent one recorded; the executor,
 * which publishes its mail; the status app; the lock.
 */
import { hostname as machineName } from "node:os";
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
import { AppError, errorFields } from "../errors.ts";
import { type Engine, openEngine } from "../inbound/engine.ts";
import { policyOf } from "../inbound/local-mailboxes.ts";
import { submission, takesMailForOthers } from "../inbound/submission.ts";
import type { Logger } from "../observe/log.ts";
import type { Listener } from "../observe/status-figures.ts";
import { ownDomains } from "../outbound/open-outbox.ts";
import { Outbound } from "../outbound/outbound.ts";
import { openSenders } from "../outbound/senders.ts";
import { describeOutbound } from "../settings/describe.ts";
import { showListenAddress } from "../settings/kinds.ts";
import type { Settings } from "../settings/table.ts";
import { listenForMail } from "./listeners.ts";
import { openStatusListeners } from "./status-listeners.ts";

export interface ServeOptions {
  readonly settings: Settings;
  readonly log: Logger;
  /**
   * Called once when the disk thread died. It must end the process at once: no message in progress
   * may be answered, because it is unknown whether that message is durable.
   */
  readonly onDiskThreadDeath: (cause: unknown) => void;
}

export interface RunningServer {
  readonly data: DataDirectory;
  readonly listeners: readonly Listener[];
  /** Where mail for other domains goes, such as `sent to the hosts of each domain`. */
  readonly outbound: string;
  /**
   * Accepts no more mail, answers accepted messages, and closes everything. Idempotent: a second
   * call returns the promise of the first.
   *
   * @returns The work that was cut off at the time limit; all counts are zero when none was.
   */
  close(options: { readonly timeoutMs: number }): Promise<Leftover>;
}

export interface Leftover {
  /** Incoming messages that were cut off during DATA or their delivery; none got 250. */
  readonly messages: number;
  /** Deliveries into mailboxes that were waiting or in flight at the time limit. */
  readonly deliveries: number;
  /** Deliveries of the outbox that were being sent; the next worker sends them. */
  readonly sending: number;
}

/** The server's name, and the domains whose mail it accepts. */
interface Identity {
  readonly hostname: string;
  readonly domains: readonly string[];
  readonly mailboxPolicy: "create" | "existing";
}

/** The order in which listeners are shown. */
const shown: readonly Listener["protocol"][] = ["smtp", "lmtp", "http", "metrics"];

type MailServers = Map<"smtp" | "lmtp", MailServer>;

/**
 * Starts the server; resolves when it accepts connections at all its addresses.
 *
 * @throws {AppError} The reason why the server cannot start, in words for its owner. Everything
 *   that was opened is closed before.
 */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { settings, log } = options;
  await using undo = new AsyncDisposableStack();
  const data = prepareDataDirectory(settings.data);
  for (const folder of durableFolders(data, settings)) checkFileSystem(folder, settings, log);
  undo.defer(lockDataDirectory(data.path));

  const identity = identityOf(settings);
  const mailServers: MailServers = new Map();
  const sessions = () => sessionsOf(mailServers);
  const outboxNotReady = async () =>
    takesMailForOthers(settings) ? outbound.notReady() : undefined;
  const engine = await openEngine({ ...options, ...identity, data, sessions, outboxNotReady });
  undo.defer(() => engine.close());
  const outbound = await Outbound.open({
    settings,
    log,
    senders: openSenders({ settings, captured: data.captured, local: engine.deliver }),
    registry: engine.metrics.registry,
  });
  undo.defer(async () => void (await outbound.close({ timeoutMs: 0 })));
  const listeners: Listener[] = [];

  // The status app opens before the mail listeners and closes after them, so that /readyz answers
  // "not ready" during the start and the stop.
  const wired = { ...options, data, identity, engine, outbound, mailServers, listeners, undo };
  await openStatusListeners({ ...wired, sessions });
  await openMailListeners(wired);
  outbound.start();
  listeners.sort((one, other) => shown.indexOf(one.protocol) - shown.indexOf(other.protocol));
  const running = undo.move();
  let closing: Promise<Leftover> | undefined;
  const stop = async (timeoutMs: number) => {
    const left = await drain({ engine, outbound, mailServers, timeoutMs });
    await running.disposeAsync();
    return left;
  };
  return {
    data,
    listeners,
    outbound: describeOutbound(settings),
    close: ({ timeoutMs }) => {
      closing ??= stop(timeoutMs);
      return closing;
    },
  };
}

interface MailListenersOptions extends ServeOptions {
  readonly data: DataDirectory;
  readonly identity: Identity;
  readonly engine: Engine;
  readonly outbound: Outbound;
  readonly mailServers: MailServers;
  readonly listeners: Listener[];
  /** The stack to which the closing of each opened listener is added. */
  readonly undo: AsyncDisposableStack;
}

/** Opens the SMTP and LMTP listeners that the settings ask for. */
async function openMailListeners(options: MailListenersOptions): Promise<void> {
  const { settings, log, data, identity, engine, outbound, mailServers, listeners } = options;
  const taking = submission({
    settings,
    engine,
    outbox: () => outbound.outbox,
    onQueued: (mail) => log.info(mail, "mail queued"),
    onFault: (error) => log.error(errorFields(error), "mail not queued; the client was refused"),
  });
  for (const protocol of ["smtp", "lmtp"] as const) {
    const listen = settings[protocol];
    if (!listen) continue;
    const server = await listenForMail({
      protocol,
      listen,
      hostname: identity.hostname,
      settings,
      data,
      engine,
      submission: taking,
    });
    mailServers.set(protocol, server);
    options.undo.defer(() => server.close({ timeoutMs: 0 }));
    listeners.push({ protocol, address: showListenAddress(server.address) });
  }
}

/**
 * Stops the start on a file system that loses mail in a power cut; logs a warning for a doubtful
 * one, and with `--file-system-check warn` for both.
 */
function checkFileSystem(folder: string, settings: Settings, log: Logger): void {
  const mount = mountOf(folder);
  if (mount === undefined) return;
  const verdict = judge(mount);
  if (verdict.kind === "safe") return;
  if (verdict.kind === "unsafe" && settings.fileSystemCheck === "refuse") {
    throw new AppError(
      "ERR_APP_FILE_SYSTEM",
      `${verdict.text}, or accept the loss with --file-system-check warn`,
    );
  }
  log.warn({ folder, reason: verdict.text }, "file system may lose mail in a power cut");
}

/** The folders that hold acknowledged mail; one folder for each file system. */
function durableFolders(data: DataDirectory, settings: Settings): string[] {
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

interface DrainOptions {
  readonly engine: Engine;
  readonly outbound: Outbound;
  readonly mailServers: MailServers;
  readonly timeoutMs: number;
}

/**
 * Ends the sessions after their accepted messages are committed and answered, then the outbound
 * worker and the executor; returns the work that was cut off at the time limit.
 */
async function drain(options: DrainOptions): Promise<Leftover> {
  const { engine, outbound, mailServers, timeoutMs } = options;
  const endMs = systemClock.now() + timeoutMs;
  const servers = [...mailServers.values()];
  let cutOff = { messages: 0, deliveries: 0 };
  engine.health.stopping();
  // This timer is set before the timers in `server.close`, so it fires before them and counts the
  // messages before they are cut off.
  const timer = systemClock.setTimeout(() => {
    const messages = servers.reduce((sum, server) => sum + server.stats().messages, 0);
    cutOff = { messages, deliveries: engine.stats().pending };
  }, timeoutMs);
  outbound.stop(timeoutMs);
  await Promise.all(servers.map((server) => server.close({ timeoutMs })));
  const sending = await outbound.close({ timeoutMs: Math.max(0, endMs - systemClock.now()) });
  systemClock.clearTimeout(timer);
  await engine.close({ timeoutMs: Math.max(0, endMs - systemClock.now()) });
  return { ...cutOff, sending };
}

function sessionsOf(servers: MailServers): Record<string, number> {
  return Object.fromEntries(
    [...servers].map(([protocol, server]) => [protocol, server.stats().connections]),
  );
}
