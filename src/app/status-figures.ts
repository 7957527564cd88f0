/** Gathers what the status page shows. */
import type { DeliveryStats } from "../delivery/index.ts";
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
}

export function statusOf(facts: StatusFacts): Status {
  const { listeners, freeBytes, sessions, delivery, ...rest } = facts;
  const { delivered, failed, batches, pending, waiting } = delivery;
  const company = batches === 0 ? "none yet" : `${(delivered / batches).toFixed(1)} on average`;
  const open = Object.entries(sessions).map(([protocol, count]) => `${count} ${protocol}`);
  return {
    ...rest,
    version,
    listeners: listeners.map(({ protocol, address }) => [titles[protocol], address]),
    figures: [
      ["Delivered", grouped(delivered)],
      ["Deferred by faults", grouped(failed)],
      ["Messages a batch", company],
      ["In progress", `${grouped(pending)}, and ${grouped(waiting)} waiting for room`],
      ["Open sessions", open.join(", ") || "none"],
      ["Free for mail", freeBytes === undefined ? "unknown" : inGiB(freeBytes)],
    ],
  };
}

function grouped(count: number): string {
  return count.toLocaleString("en");
}

function inGiB(count: number): string {
  return `${(count / 2 ** 30).toFixed(1)} GiB`;
}
