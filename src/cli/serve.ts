/**
 * The command `postbag serve`: runs the server of app/server/serve.ts until a signal stops it.
 *
 * SIGTERM and SIGINT stop the server in order: it accepts no new mail, answers every accepted
 * message, and exits with 0. A second signal a second later ends it at once; a message that is
 * being committed then is either durable, or lost without a 250, and the sender retries.
 */
import { relative } from "node:path";
import { Command } from "commander";
import { type Settings, version } from "../app/index.ts";
import type { RunningServer } from "../app/server/serve.ts";
import { openCommandLog } from "./command-log.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";
import { stopOnSignal } from "./stop-on-signal.ts";
import { exitCodes } from "./sysexits.ts";

export function serveCommand(): Command {
  const command = new Command("serve").description("run the mail server").action(serve);
  return addSettingFlags(command);
}

async function serve(options: Record<string, unknown>): Promise<void> {
  const { settings, origins, warnings } = settingsOf(options);
  const log = await openCommandLog(settings, warnings);
  const { startServer } = await import("../app/server/serve.ts");
  const starting = startServer({
    settings,
    log,
    onDiskThreadDeath: (cause) => {
      log.fatal(
        { error: String(cause) },
        "disk thread died; the process ends without answering and senders retry",
      );
      process.exit(exitCodes.software);
    },
  });
  stopOnSignal(log, async () => {
    const server = await starting;
    const left = await server.close({ timeoutMs: settings.shutdownMs });
    if (Object.values(left).every((count) => count === 0)) log.info("stopped");
    else
      log.warn(
        { ...left, timeoutMs: settings.shutdownMs },
        "stopped at the time limit; senders and the next worker retry the rest",
      );
  });
  const server = await starting;
  const dataFlag =
    origins.data === "default" ? "" : ` --data ${shellWord(shortest(settings.data))}`;
  console.log(`${banner(server, settings, dataFlag)}\npostbag ready`);
}

function banner(
  { data, listeners, outbound: description }: RunningServer,
  { outbound }: Settings,
  dataFlag: string,
): string {
  const smtp = listeners.find(({ protocol }) => protocol === "smtp");
  const addresses = listeners.map(
    ({ protocol, address }) => `  ${protocol.toUpperCase().padEnd(8)} ${linkOf(protocol, address)}`,
  );
  const target =
    outbound === "capture" ? `captured in ${data.captured} and never sent` : description;
  const lines = [
    `Postbag ${version} stores mail in ${data.mail}`,
    "",
    ...addresses,
    "",
    `Mail for other domains is ${target}.`,
    "",
  ];
  if (smtp === undefined) return lines.join("\n");
  return [
    ...lines,
    "Try it in another terminal:",
    `  printf 'Subject: Hello\\n\\nIt works.\\n' | curl smtp://${smtp.address} --mail-from me@example.org --mail-rcpt you@localhost -T -`,
    `  npx postbag mailbox show you@localhost${dataFlag}`,
    "",
  ].join("\n");
}

function linkOf(protocol: string, address: string): string {
  if (protocol === "http") return `http://${address}/`;
  return protocol === "metrics" ? `http://${address}/metrics` : address;
}

/** The path from the working folder if it is below that, else the absolute path. */
function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith("..") ? path : fromHere || ".";
}

function shellWord(text: string): string {
  return /^[\w./@%+=:,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
