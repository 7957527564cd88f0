/**
 * The engine behind the listeners: builds the local mailboxes, the executor, the metrics and the
 * health monitor, and hands out one `deliver` for mail to this server's domains. It stores the
 * copies by `delivery/local.ts`. submission.ts calls `deliver` and adds mail for other domains.
 *
 * A journal that opens at the first try is recovered before `openEngine` returns. After a temporary
 * failure `openEngine` returns without it, and mail gets 451 until a later try opens the journal.
 */

import {
  type DeliveryExecutor,
  type DeliveryStats,
  listStaging,
  localDelivery,
} from "../../delivery/index.ts";
import { countSegments } from "../../journal/index.ts";
import { type Deliver, refused, reply } from "../../mail/index.ts";
import { systemClock } from "../../system/index.ts";
import { type DataDirectory, journalFolderOf } from "../data-directory.ts";
import { AppError, messageOf } from "../errors.ts";
import { type HealthMonitor, monitorHealth } from "../observe/health.ts";
import { type JournalWatch, watchJournal } from "../observe/journal-status.ts";
import type { Logger } from "../observe/log.ts";
import { createMetrics, type Metrics } from "../observe/metrics.ts";
import { type Observer, observe } from "../observe/observe.ts";
import { RetryingOpener } from "../retrying-opener.ts";
import type { Settings } from "../settings/table.ts";
import { probeDisk } from "./disk-probe.ts";
import { type LocalMailboxes, localMailboxes } from "./local-mailboxes.ts";
import { openExecutor } from "./open-executor.ts";

export interface Engine {
  readonly deliver: Deliver;
  readonly checkRecipient: LocalMailboxes["checkRecipient"];
  readonly isOurs: LocalMailboxes["isOurs"];
  /** Figures of the executor; zeros until the executor is open. */
  readonly stats: () => DeliveryStats;
  readonly journal: JournalFigures;
  readonly health: HealthMonitor;
  readonly metrics: Metrics;
  readonly onSmtpEvent: Observer["onSmtpEvent"];
  /** Closes the executor, or ends the tries to open the executor. Idempotent. */
  readonly close: (options?: { readonly timeoutMs?: number }) => Promise<void>;
}

/** Figures about the journal for the status page and the metrics. */
export interface JournalFigures extends Pick<JournalWatch, "recovery"> {
  /** The folder of the journal; `undefined` with `--commit synced`, which uses no journal. */
  readonly folder: string | undefined;
  /** Segments on the disk; `undefined` with `--commit synced`. */
  readonly segments: () => Promise<number | undefined>;
  /** Messages in the `orphans/` of every staging directory: their mailbox was gone or refused. */
  readonly orphans: () => Promise<number>;
}

export interface EngineOptions {
  readonly settings: Settings;
  readonly data: DataDirectory;
  readonly domains: readonly string[];
  readonly mailboxPolicy: "create" | "existing";
  readonly log: Logger;
  /** The number of open sessions of each protocol. */
  readonly sessions: () => Readonly<Record<string, number>>;
  /** Called once when the disk thread died; must end the process before a message is answered. */
  readonly onDiskThreadDeath: (cause: unknown) => void;
  /** Why the outbox cannot take mail; `undefined` when it can. */
  readonly outboxNotReady: () => Promise<string | undefined>;
}

type Executor = RetryingOpener<DeliveryExecutor>;

/**
 * Opens the engine; the caller closes it.
 *
 * @throws {AppError} as {@link openExecutor} does, except `ERR_APP_JOURNAL_NOT_NOW`: then the
 *   engine tries again every five seconds.
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { settings, data, domains, mailboxPolicy, log, sessions, onDiskThreadDeath } = options;
  const watch = watchJournal(log);
  const journal = journalFigures(settings, data, watch);
  const stats = () => executor.opened?.stats() ?? noStats;
  const health = monitorHealth({
    mailRoot: data.mail,
    minFreeBytes: settings.minFreeBytes,
    clock: systemClock,
    pending: () => stats().pending,
    notReady: () => reasonsOf(executor, watch),
    probeDisk: () => probeDisk(data.path),
    outboxNotReady: options.outboxNotReady,
  });
  const metrics = createMetrics({
    sessions,
    delivery: stats,
    freeBytes: health.freeBytes,
    ready: async () => (await health.health()).ready,
    orphans: journal.orphans,
    recovery: watch.recovery,
    segments: journal.segments,
  });
  const observer = observe({ log, metrics, health, journal: watch, onDiskThreadDeath });
  const executor = await openRetrying(options, observer, journal.folder);
  const mailboxes = localMailboxes({ mailRoot: data.mail, domains, policy: mailboxPolicy });
  let deliver: Deliver | undefined;
  return {
    async deliver(envelope, message, deliverOptions) {
      if (executor.opened === undefined) return envelope.recipients.map(() => refused(notNow));
      deliver ??= localDelivery(executor.opened, mailboxes.mailboxOf, {
        lineEndings: settings.storedLineEndings,
        onEvent: observer.onLocalDeliveryEvent,
      });
      return deliver(envelope, message, deliverOptions);
    },
    async checkRecipient(recipient) {
      const refusal = await mailboxes.checkRecipient(recipient);
      return refusal ?? (executor.opened ? undefined : { ...notNow, phase: "rcpt" });
    },
    isOurs: mailboxes.isOurs,
    stats,
    journal,
    health,
    metrics,
    onSmtpEvent: observer.onSmtpEvent,
    close: async (closeOptions) => (await executor.stop())?.close(closeOptions),
  };
}

/** After this time one log line reports that recovery is still running. */
const slowRecoveryMs = 10_000;

const notNow = reply(451, "4.3.0", "Mail cannot be stored now, try again later");

const noStats: DeliveryStats = {
  pending: 0,
  pendingBytes: 0,
  waiting: 0,
  flushesInProgress: 0,
  delivered: 0,
  failed: 0,
  batches: 0,
  accepting: false,
  unpublished: 0,
  oldestUnpublishedMs: 0,
};

async function openRetrying(
  { settings, data, log }: EngineOptions,
  { onDeliveryEvent }: Observer,
  folder: string | undefined,
): Promise<Executor> {
  const slow = systemClock.setTimeout(
    () => log.info({ folder }, "journal recovery takes long; mail is accepted when it ends"),
    slowRecoveryMs,
  );
  return RetryingOpener.open({
    open: () => openExecutor({ settings, data, onEvent: onDeliveryEvent }),
    isTemporary: (error) => error instanceof AppError && error.code === "ERR_APP_JOURNAL_NOT_NOW",
    onFailure: (error) =>
      log.error({ reason: messageOf(error) }, "journal not opened; mail gets 451 until it opens"),
    onOpened: () => log.info("journal opened; mail is accepted"),
    clock: systemClock,
  }).finally(() => systemClock.clearTimeout(slow));
}

function reasonsOf(executor: Executor, watch: JournalWatch): readonly string[] {
  if (executor.opened === undefined) return [executor.reason ?? "starting"];
  const refusing = executor.opened.stats().accepting
    ? []
    : ["the disk refuses the journal's writes"];
  return [...refusing, ...watch.notReady()];
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
      return folder === undefined ? undefined : countSegments(folder);
    },
  };
}
