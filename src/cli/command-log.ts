/** Opens the log of a command that runs until a signal ends it. */
import type { Settings } from "../app/index.ts";
import type { Logger } from "../app/observe/log.ts";

/** Opens the log that the settings ask for, and writes the warnings about the settings to it. */
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
