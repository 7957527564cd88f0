/**
 * How a running command ends: SIGTERM and SIGINT stop it in order, exit 0. A second signal, at
 * least a second later, ends it at once. (A shell or npm often passes on a signal that the process
 * has already received, so a repeat within that second counts as the same signal.)
 */
import type { Logger } from "../app/observe/log.ts";
import { exitCodes } from "./sysexits.ts";

const sameSignalMs = 1_000;

/** Runs `stop` at the first signal, and ends the process after it. */
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
