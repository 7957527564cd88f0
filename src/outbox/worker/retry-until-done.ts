/** Repeats what must not be given up: a store that fails now may answer soon. */
import type { Clock } from "../../system/index.ts";

/** First and longest pause between tries, in milliseconds. */
const firstPauseMs = 100;
const longestPauseMs = 10_000;

export interface Patience {
  readonly clock: Clock;
  /** Told of each failure. */
  readonly onFailure: (error: unknown) => void;
  /** Ends the tries; the last error is then thrown. */
  readonly signal: AbortSignal;
}

/** Calls `work` until it succeeds, with pauses that double. */
export async function untilDone<T>(work: () => Promise<T>, patience: Patience): Promise<T> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    try {
      return await work();
    } catch (error) {
      patience.onFailure(error);
      if (patience.signal.aborted) throw error;
      await pause(pauseMs, patience);
    }
  }
}

/** Waits, at most until the signal aborts. */
export async function pause(
  forMs: number,
  { clock, signal }: Pick<Patience, "clock" | "signal">,
): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = clock.setTimeout(resolve, forMs);
  const wake = () => resolve();
  signal.addEventListener("abort", wake, { once: true });
  await promise;
  signal.removeEventListener("abort", wake);
  clock.clearTimeout(timer);
}
