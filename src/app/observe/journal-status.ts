/**
 * Follows the executor's events about the journal (observe.ts hands them on): writes log lines, and
 * supplies reasons for `/readyz` (health.ts) and figures for the status page and the metrics.
 */
import type { DeliveryEvent, RecoveryReport } from "../../delivery/index.ts";
import type { Logger } from "./log.ts";

/** An event of the executor about its journal. */
export type JournalEvent = Extract<
  DeliveryEvent,
  { readonly kind: "recovered" | "orphaned" | "publishing" | "accepting" }
>;

export interface JournalWatch {
  readonly onEvent: (event: JournalEvent) => void;
  /** Why the server is not ready: unavailable volumes and failed publishing; else empty. */
  readonly notReady: () => readonly string[];
  /** The counts of all recoveries since the start, with the damage and volumes of the last one. */
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
  /** Why publishing fails, by the directory of the volume (the file system of some mailboxes). */
  const failures = new Map<string, string>();

  function onRecovered(next: RecoveryReport): void {
    const { restored, finished, skipped, swept, damage, unavailable } = next;
    const counts = { restored, finished, skipped, swept };
    const isNews = Object.values(counts).some((count) => count > 0);
    if (isNews) log.info(counts, "journal recovered");
    else log.debug(counts, "journal recovery found nothing to do");
    for (const { directory, reason } of report.unavailable) {
      if (unavailable.some((still) => still.directory === directory)) continue;
      log.info({ volume: directory, was: reason }, "volume available again");
    }
    for (const { directory, reason } of unavailable) {
      log.error(
        { volume: directory, reason },
        "volume unavailable; new mail for it gets 451, its durable mail stays in the journal",
      );
    }
    if (damage.length > 0 && String(damage) !== String(report.damage)) {
      log.error({ damage }, "journal damaged; undamaged mail was recovered; run postbag doctor");
    }
    report = next;
  }

  function onPublishing(directory: string, reason: string | undefined): void {
    if (reason === undefined) {
      failures.delete(directory);
      log.info({ volume: directory }, "publishing resumed");
    } else {
      failures.set(directory, reason);
      log.error(
        { volume: directory, reason },
        "publishing failed; the mail stays in the journal and is retried",
      );
    }
  }

  return {
    onEvent(event) {
      switch (event.kind) {
        case "recovered":
          return onRecovered(event.report);
        case "accepting":
          if (event.accepting) return log.info("journal writes succeed again; mail is accepted");
          return log.error("journal writes failed; mail gets 451 until they succeed");
        case "orphaned": {
          const { ids, mailboxes, orphans, reason } = event;
          const facts = { ids, mailboxes, orphans, reason };
          return log.error(
            facts,
            "mail not published; it was moved to orphans; run postbag doctor",
          );
        }
        case "publishing":
          return onPublishing(event.directory, event.reason);
      }
    },
    notReady: () => [
      ...report.unavailable.map(({ reason }) => reason),
      ...[...failures].map(
        ([directory, reason]) => `mail cannot be published at ${directory}: ${reason}`,
      ),
    ],
    recovery: () => report,
  };
}
