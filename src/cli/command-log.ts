/** Opens the log of `serve` and `worker`, the commands that run until a signal ends them. */
import type { Settings } from "../app/index.ts";
import type { Logger } from "../app/observe/log.ts";

/**
 * Opens the log with the level and format of the settings (by default text on a terminal, else
 * JSON), and writes the warnings about ignored variables to it.
 */
export async function openCommandLog(
  { logLevel, logFormat }: Settings,
  warnings: readonly string[],
): Promise<Logger> {
  const { openLog } = await import("../app/observe/log.ts");
  const format = logFormat ?? (process.stderr.isTTY ? "text" : "json");
  const log = openLog({ level: logLevel, format });
  for (const reason of warnings) log.warn({ reason }, "setting ignored");
  return log;
}
