/**
 * Long work in slices: the disk thread also writes the log, whose callers are waiting for an answer, so
 * whoever goes through many files lets the event loop have a turn every so often.
 */
import type { Clock } from "../../system/index.ts";

/** Files handled before the event loop gets a turn, and descriptors held at once. */
const sliceFiles = 32;

/** Calls `action` for one slice of the items after the other, with a turn of the event loop between. */
export async function inSlices<Item>(
  items: readonly Item[],
  clock: Clock,
  action: (slice: readonly Item[]) => void | Promise<void>,
): Promise<void> {
  for (let at = 0; at < items.length; at += sliceFiles) {
    await action(items.slice(at, at + sliceFiles));
    if (at + sliceFiles < items.length) await new Promise<void>((turn) => clock.setImmediate(turn));
  }
}
