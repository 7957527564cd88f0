/**
 * Ends `serve` and `worker`: the first SIGTERM or SIGINT stops the command in order, with exit code
 * 0. A signal at least a second later ends the process at once, with exit code 1. A signal within
 * that second counts as the first one, because a shell or npm often passes on a signal that the
 * process has already received.
 */
import type { Logger } from "../app/observe/log.ts";
import { exitCodes } from "./sysexits.ts";

const sameSignalMs = 1_000;

/** Calls `stop` once, at the first signal, and ends the process when its promise settles. */
export function stopOnSignal(log: Logger, stop: () => Promise<void>): void {
  let firstAtMs: number | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    if (firstAtMs !== undefined) {
      if (performance.now() - firstAtMs >= sameSignalMs) process.exit(1);
      return;
    }
    firstAtMs = performance.now();
    log.info({ signal }, "stopping");
    stop().then(
      () => process.exit(exitCodes.ok),
      (error: unknown) => {
        log.fatal({ error: String(error) }, "stopping failed");
        process.exit(exitCodes.software);
      },
    );
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}
