/** Gathers what the status page shows. */
import type { DeliveryStats, RecoveryReport } from "../delivery/index.ts";
import type { Status } from "../http/index.ts";
import { version } from "./version.ts";

/** One address the server listens on. */
export interface Listener {
  readonly protocol: "smtp" | "lmtp" | "http" | "metrics";
  readonly address: string;
}

const titles = { smtp: "SMTP", lmtp: "LMTP", http: "HTTP", metrics: "Metrics" } as const;

export interface StatusFacts extends Omit<Status, "version" | "listeners" | "figures"> {
  readonly listeners: readonly Listener[];
  readonly freeBytes: number | undefined;
  readonly sessions: Readonly<Record<string, number>>;
  readonly delivery: DeliveryStats;
  /** The journal's folder; `undefined` without one. */
  readonly journalFolder: string | undefined;
  readonly recovery: RecoveryReport;
  readonly orphans: number;
}

export function statusOf(facts: StatusFacts): Status {
  const { listeners, freeBytes, sessions, delivery, journalFolder, recovery, orphans, ...rest } =
    facts;
  const { delivered, failed, batches, pending, waiting } = delivery;
  const company = batches === 0 ? "none yet" : `${(delivered / batches).toFixed(1)} on average`;
  const open = Object.entries(sessions).map(([protocol, count]) => `${count} ${protocol}`);
  return {
    ...rest,
    version,
    listeners: listeners.map(({ protocol, address }) => [titles[protocol], address]),
    figures: [
      ["Commit", journalFolder === undefined ? "synced" : `journal in ${journalFolder}`],
      ["Delivered", grouped(delivered)],
      ["Deferred by faults", grouped(failed)],
      ["Messages a batch", company],
      ["In progress", `${grouped(pending)}, and ${grouped(waiting)} waiting for room`],
      ...(journalFolder === undefined ? [] : journalFigures(delivery, recovery)),
      ...(orphans === 0 ? [] : [["Orphans", `${grouped(orphans)}, see postbag doctor`] as const]),
      ["Open sessions", open.join(", ") || "none"],
      ["Free for mail", freeBytes === undefined ? "unknown" : inGiB(freeBytes)],
    ],
  };
}

function journalFigures(
  { unpublished, oldestUnpublishedMs }: DeliveryStats,
  { restored, finished, skipped, damage }: RecoveryReport,
): Status["figures"] {
  const seconds = (oldestUnpublishedMs / 1000).toFixed(1);
  const waiting =
    unpublished === 0 ? "none" : `${grouped(unpublished)}, the first for ${seconds} s`;
  const recovered = `${grouped(restored)} restored, ${grouped(finished)} finished, ${grouped(skipped)} already published`;
  return [
    ["Durable, not yet visible", waiting],
    ...(restored + finished + skipped === 0 ? [] : [["Recovered", recovered] as const]),
    ...(damage.length === 0 ? [] : [["Journal", "damaged, see postbag doctor"] as const]),
  ];
}

function grouped(count: number): string {
  return count.toLocaleString("en");
}

function inGiB(count: number): string {
  return `${(count / 2 ** 30).toFixed(1)} GiB`;
}
