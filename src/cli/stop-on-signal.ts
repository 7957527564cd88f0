/**
 * How a running command ends: SIGTERM and SIGINT stop it in order, exit 0. A second signal, a second
 * later or more, ends it at once. (A shell or npm often passes on a signal that the process got already,
 * so repeats within that second are the same one.)
 */
import type { Logger } from "../app/index.ts";
import { exitCodes } from "./sysexits.ts";

const sameSignalMs = 1_000;

/** Has `stop` run at the first signal, and ends the process after it. */
export function untilSignal(log: Logger, stop: () => Promise<void>): void {
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
        log.fatal({ error: String(error) }, "could not stop in order");
        process.exit(exitCodes.software);
      },
    );
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}
