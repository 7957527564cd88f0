/**
 * The engine behind the listeners: finds the mailbox of a recipient, makes messages durable, and keeps
 * an eye on how that goes.
 */
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type DeliveryExecutor, listStaging, localDelivery } from "../../delivery/index.ts";
import { type Deliver, refused, reply } from "../../mail/index.ts";
import { systemClock } from "../../system/index.ts";
import { type DataDirectory, journalFolderOf } from "../data-directory.ts";
import { type HealthMonitor, monitorHealth } from "../observe/health.ts";
import { type JournalWatch, watchJournal } from "../observe/journal-status.ts";
import type { Logger } from "../observe/log.ts";
import { createMetrics, type Metrics } from "../observe/metrics.ts";
import { type Observer, observe } from "../observe/observe.ts";
import { LateExecutor } from "../retrying-opener.ts";
import type { Settings } from "../settings/table.ts";
import { type LocalMailboxes, localMailboxes } from "./local-mailboxes.ts";
import { openExecutor } from "./open-executor.ts";

export interface Engine {
  readonly deliver: Deliver;
  readonly checkRecipient: LocalMailboxes["checkRecipient"];
  readonly isOurs: LocalMailboxes["isOurs"];
  readonly executor: LateExecutor;
  readonly journal: JournalFigures;
  readonly health: HealthMonitor;
  readonly metrics: Metrics;
  readonly onSmtpEvent: Observer["onSmtpEvent"];
}

/** What the journal says of itself. */
export interface JournalFigures extends Pick<JournalWatch, "recovery"> {
  /** Its folder; `undefined` when batches are committed in the mailboxes. */
  readonly folder: string | undefined;
  readonly segments: () => Promise<number | undefined>;
  /** Messages kept in `orphans/`, of any journal. */
  readonly orphans: () => Promise<number>;
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
  /** What keeps the outbox from taking mail. */
  readonly outboxObstacle: () => Promise<string | undefined>;
}

/** Opens the engine; whoever opened it closes its executor. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { settings, data, domains, mailboxPolicy, log, sessions, onDiskThreadDeath } = options;
  const watch = watchJournal(log);
  const journal = journalFigures(settings, data, watch);
  const health = monitorHealth({
    mailRoot: data.mail,
    minFreeBytes: settings.minFreeBytes,
    clock: systemClock,
    pending: () => executor.stats().pending,
    obstacles: () => obstaclesOf(executor, watch),
    tryToStore: () => tryToStore(data),
    outboxObstacle: options.outboxObstacle,
  });
  const metrics = createMetrics({
    sessions,
    delivery: () => executor.stats(),
    freeBytes: health.freeBytes,
    ready: async () => (await health.health()).ready,
    orphans: journal.orphans,
    recovery: watch.recovery,
    segments: journal.segments,
  });
  const observer = observe({ log, metrics, health, journal: watch, onDiskThreadDeath });
  const slow = systemClock.setTimeout(
    () => log.info({ folder: journal.folder }, "recovering the journal before taking mail"),
    slowRecoveryMs,
  );
  const executor = await LateExecutor.open({
    open: () => openExecutor({ settings, data, onEvent: observer.onDeliveryEvent }),
    clock: systemClock,
    log,
  }).finally(() => systemClock.clearTimeout(slow));
  const mailboxes = localMailboxes({ mailRoot: data.mail, domains, policy: mailboxPolicy });
  const deliverBy = (opened: DeliveryExecutor) =>
    localDelivery(opened, mailboxes.mailboxOf, {
      lineEndings: settings.storedLineEndings,
      onEvent: observer.onLocalDeliveryEvent,
    });
  let deliver: Deliver | undefined;
  return {
    async deliver(envelope, message, deliverOptions) {
      const opened = executor.executor;
      if (opened === undefined) return envelope.recipients.map(() => refused(notNow));
      deliver ??= deliverBy(opened);
      return deliver(envelope, message, deliverOptions);
    },
    async checkRecipient(recipient) {
      const refusal = await mailboxes.checkRecipient(recipient);
      return refusal ?? (executor.executor ? undefined : { ...notNow, phase: "rcpt" });
    },
    isOurs: mailboxes.isOurs,
    executor,
    journal,
    health,
    metrics,
    onSmtpEvent: observer.onSmtpEvent,
  };
}

/** Whoever waits longer than this for a start wants to know why. */
const slowRecoveryMs = 10_000;

const notNow = reply(451, "4.3.0", "Mail cannot be stored now, try again later");

function obstaclesOf(executor: LateExecutor, watch: JournalWatch): readonly string[] {
  if (executor.executor === undefined) return [executor.obstacle ?? "starting"];
  const refusing = executor.stats().accepting ? [] : ["the disk refuses the journal's writes"];
  return [...refusing, ...watch.obstacles()];
}

function journalFigures(
  settings: Settings,
  data: DataDirectory,
  { recovery }: JournalWatch,
): JournalFigures {
  const folder = settings.commit === "journal" ? journalFolderOf(settings) : undefined;
  return {
    folder,
    recovery,
    async orphans() {
      const staging = await listStaging(data.mail);
      return staging.reduce((sum, { orphans }) => sum + orphans.messages, 0);
    },
    async segments() {
      if (folder === undefined) return undefined;
      const names = await readdir(folder).catch(() => undefined);
      return names?.filter((name) => /^segment-\d+$/.test(name)).length;
    },
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
