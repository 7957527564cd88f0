/** Repeats a failed write to the store, for `record.ts`: a store that fails now may answer soon. */
import type { Clock } from "../../system/index.ts";

/** Pause after the first failure, in milliseconds; each further failure doubles the pause. */
const firstPauseMs = 100;
const maxPauseMs = 10_000;

interface RetryOptions {
  readonly clock: Clock;
  /** Called with the error of each failure. */
  readonly onFailure: (error: unknown) => void;
  /** Ends the calls; the error of the last one is then thrown. */
  readonly signal: AbortSignal;
}

/** Calls `work` until it succeeds or the signal aborts, with pauses that double up to 10 s. */
export async function retryUntilDone<T>(
  work: () => Promise<T>,
  { clock, onFailure, signal }: RetryOptions,
): Promise<T> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
    try {
      return await work();
    } catch (error) {
      onFailure(error);
      if (signal.aborted) throw error;
      await pause(pauseMs, { clock, signal });
    }
  }
}

/** Waits, at most until the signal aborts. */
export async function pause(
  forMs: number,
  { clock, signal }: Pick<RetryOptions, "clock" | "signal">,
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
