/**
 * The command `postbag worker`: runs the worker of app/server/worker.ts, which sends mail of an
 * outbox that several machines share, until a signal stops it.
 */
import { Command } from "commander";
import { AppError, type SettingName, settingNames, settingOf } from "../app/index.ts";
import { openCommandLog } from "./command-log.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";
import { stopOnSignal } from "./stop-on-signal.ts";

/** Outbound settings that a worker does not have, because it receives no mail. */
const serverOnly: readonly SettingName[] = ["relayFrom"];

/** The settings of a worker, in the order of the table. */
const flags = settingNames.filter(
  (name) =>
    (settingOf(name).group === "outbound" && !serverOnly.includes(name)) ||
    ["data", "domain", "hostname", "metrics", "logLevel", "logFormat", "shutdownMs"].includes(name),
);

export function workerCommand(): Command {
  const command = new Command("worker")
    .description("send the mail of a shared outbox, without a server")
    .action(work);
  return addSettingFlags(command, flags);
}

async function work(options: Record<string, unknown>): Promise<void> {
  const { settings, origins, warnings } = settingsOf(options);
  // A worker that captured mail by default would take it from the workers that send mail.
  if (origins.outbound === "default") {
    throw new AppError(
      "ERR_APP_USAGE",
      "The target of mail is missing: --outbound relay, direct or capture",
    );
  }
  const log = await openCommandLog(settings, warnings);
  const { startWorker } = await import("../app/server/worker.ts");
  const starting = startWorker({ settings, log });
  stopOnSignal(log, async () => {
    const worker = await starting;
    const sending = await worker.close({ timeoutMs: settings.shutdownMs });
    if (sending === 0) log.info("stopped");
    else
      log.warn(
        { sending },
        "stopped at the time limit; senders and the next worker retry the rest",
      );
  });
  const { metrics } = await starting;
  if (metrics !== undefined) console.log(`  METRICS  http://${metrics}/metrics`);
  console.log("postbag worker ready");
}
