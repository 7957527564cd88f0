/** How the flushes of a batch are grouped: by file system, and each or in bulk. */
import type { Bundle } from "./pending-delivery.ts";
import type { DeliverTools } from "./tools.ts";

/** Parts the bundles by the file system they lie on; one bulk flush reaches only one. */
export function byDevice(bundles: readonly Bundle[]): Bundle[][] {
  return [...Map.groupBy(bundles, ({ mailbox }) => mailbox.device).values()];
}

export function planOf(
  phase: "data" | "names",
  count: number,
  { syncFileSystem, syncPlan }: DeliverTools,
): "each" | "bulk" {
  if (!syncFileSystem) return "each";
  return syncPlan?.(phase, count) ?? "bulk";
}
