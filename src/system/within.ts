/** Waits with a time limit. */
import type { Clock } from "./clock.ts";

/**
 * Waits for `work`, at most `limitMs`; resolves with `late` if that is too short. The work is not
 * stopped.
 */
export async function within<Value, Late>(
  work: PromiseLike<Value> | Value,
  limitMs: number,
  late: Late,
  clock: Clock,
): Promise<Value | Late> {
  const isOver = Promise.withResolvers<Late>();
  const timer = clock.setTimeout(() => isOver.resolve(late), limitMs);
  try {
    return await Promise.race([work, isOver.promise]);
  } finally {
    clock.clearTimeout(timer);
  }
}
