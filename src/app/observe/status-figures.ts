/** Turns the figures of a server into the texts of the status page (`http/status-page.ts`). */
import type { DeliveryStats, RecoveryReport } from "../../delivery/index.ts";
import type { Status } from "../../http/index.ts";
import type { StoreStats } from "../../outbox/index.ts";
import { describeOutbound } from "../settings/describe.ts";
import type { Settings } from "../settings/table.ts";
import { version } from "./version.ts";

/** An address on which the server listens. */
export interface Listener {
  readonly protocol: "smtp" | "lmtp" | "http" | "metrics";
  readonly address: string;
}

const titles = { smtp: "SMTP", lmtp: "LMTP", http: "HTTP", metrics: "Metrics" } as const;

export interface StatusFacts extends Omit<Status, "version" | "listeners" | "figures"> {
  readonly listeners: readonly Listener[];
  /** Free bytes for mail; `undefined` when the file system does not report them. */
  readonly freeBytes: number | undefined;
  readonly sessions: Readonly<Record<string, number>>;
  readonly delivery: DeliveryStats;
  /** The folder of the journal; `undefined` without a journal. */
  readonly journalFolder: string | undefined;
  readonly recovery: RecoveryReport;
  readonly orphans: number;
  readonly outbound: {
    readonly settings: Pick<Settings, "outbound" | "relay">;
    /** `undefined` while the outbox does not answer. */
    readonly stats: StoreStats | undefined;
  };
}

export function statusOf(facts: StatusFacts): Status {
  const {
    listeners,
    freeBytes,
    sessions,
    delivery,
    journalFolder,
    recovery,
    orphans,
    outbound,
    ...rest
  } = facts;
  const { delivered, failed, batches, pending, waiting } = delivery;
  const perBatch = batches === 0 ? "none yet" : `${(delivered / batches).toFixed(1)} on average`;
  const open = Object.entries(sessions).map(([protocol, count]) => `${count} ${protocol}`);
  return {
    ...rest,
    version,
    listeners: listeners.map(({ protocol, address }) => [titles[protocol], address]),
    figures: [
      ["Commit", journalFolder === undefined ? "synced" : `journal in ${journalFolder}`],
      ["Delivered", grouped(delivered)],
      ["Deferred by errors", grouped(failed)],
      ["Messages a batch", perBatch],
      ["In progress", `${grouped(pending)}, and ${grouped(waiting)} waiting for room`],
      ...(journalFolder === undefined ? [] : journalFigures(delivery, recovery)),
      ...(orphans === 0 ? [] : [["Orphans", `${grouped(orphans)}, see postbag doctor`] as const]),
      ["Open sessions", open.join(", ") || "none"],
      ...outboundFigures(outbound),
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

function outboundFigures({ settings, stats }: StatusFacts["outbound"]): Status["figures"] {
  const target = ["Mail for other domains", describeOutbound(settings)] as const;
  if (stats === undefined) return [target, ["Outbox", "does not answer"]];
  const { lanes, dead, inDoubt, blockedRoutes } = stats;
  const queued = lanes.reduce((sum, lane) => sum + lane.queued, 0);
  const oldestDueMs = Math.max(0, ...lanes.map((lane) => lane.oldestDueMs ?? 0));
  const due = oldestDueMs === 0 ? "" : `, the first due for ${(oldestDueMs / 1000).toFixed(1)} s`;
  const routes = blockedRoutes.map(({ route, reason }) => `${route} (${reason ?? "unknown"})`);
  return [
    target,
    ["To be sent", queued === 0 ? "none" : `${grouped(queued)}${due}`],
    ...(dead === 0 ? [] : [["Dead letters", grouped(dead)] as const]),
    ...(inDoubt === 0 ? [] : [["In doubt", grouped(inDoubt)] as const]),
    ...(routes.length === 0 ? [] : [["Paused routes", routes.join(", ")] as const]),
  ];
}

function grouped(count: number): string {
  return count.toLocaleString("en");
}

function inGiB(count: number): string {
  return `${(count / 2 ** 30).toFixed(1)} GiB`;
}
