/**
 * Follows what the journal reports: plain words for the log, reasons for `/readyz`, figures for the
 * status page and the metrics.
 */
import type { DeliveryEvent, RecoveryReport } from "../../delivery/index.ts";
import type { Logger } from "./log.ts";

/** What the journal tells without being asked. */
export type JournalEvent = Extract<
  DeliveryEvent,
  { readonly kind: "recovered" | "orphaned" | "publishing" | "accepting" }
>;

export interface JournalWatch {
  readonly onEvent: (event: JournalEvent) => void;
  /** Why mail should go elsewhere, as far as the journal knows; empty when it should not. */
  readonly obstacles: () => readonly string[];
  /** What recovery has done since the start. */
  readonly recovery: () => RecoveryReport;
}

const noReport: RecoveryReport = {
  restored: 0,
  finished: 0,
  skipped: 0,
  swept: 0,
  damage: [],
  unavailable: [],
};

export function watchJournal(log: Pick<Logger, "info" | "error" | "debug">): JournalWatch {
  let report = noReport;
  /** By the place where mail cannot be published. */
  const troubles = new Map<string, string>();

  function onRecovered(next: RecoveryReport): void {
    const { restored, finished, skipped, swept, damage, unavailable } = next;
    const counts = { restored, finished, skipped, swept };
    const isNews = [restored, finished, skipped, swept].some((count) => count > 0);
    const text = `the journal was recovered: ${restored} messages restored from it, ${finished} finished, ${skipped} were published already`;
    if (isNews) log.info(counts, text);
    else log.debug(counts, "the journal owed nothing");
    for (const { home, reason } of report.unavailable) {
      if (unavailable.some((still) => still.home === home)) continue;
      log.info({ home, was: reason }, "this mail file system is served again");
    }
    for (const { home, reason } of unavailable) {
      log.error({ home, reason }, "its mail stays in the journal and new mail for it gets 451");
    }
    if (damage.length > 0 && String(damage) !== String(report.damage)) {
      log.error({ damage }, "the journal is damaged: what is whole was recovered, all is kept");
    }
    report = next;
  }

  return {
    onEvent(event) {
      switch (event.kind) {
        case "recovered":
          return onRecovered(event.report);
        case "accepting": {
          if (event.accepting) return log.info("the journal takes mail again");
          return log.error("the disk refuses the journal's writes: mail is put off with 451");
        }
        case "orphaned": {
          const { ids, mailboxes, orphans, reason } = event;
          return log.error({ ids, mailboxes, orphans, reason }, "kept as orphans");
        }
        case "publishing": {
          const { home, reason } = event;
          if (reason === undefined) {
            troubles.delete(home);
            return log.info({ home }, "publishing again");
          }
          troubles.set(home, reason);
          return log.error({ home, reason }, "cannot publish; the journal keeps the mail");
        }
      }
    },
    obstacles: () => [
      ...report.unavailable.map(({ reason }) => reason),
      ...[...troubles].map(([home, reason]) => `mail cannot be published at ${home}: ${reason}`),
    ],
    recovery: () => report,
  };
}
