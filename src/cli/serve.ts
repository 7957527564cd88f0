/**
 * `postbag serve`: runs the server until it is told to stop.
 *
 * SIGTERM and SIGINT end it in order: no new mail, everything taken is answered, exit 0. A second
 * signal, a second later or more, ends it at once; the message being committed is then either durable
 * or was never acknowledged. (A shell or npm often passes on a signal the server got already, so
 * repeats within that second are the same one.)
 */
import { relative } from "node:path";
import { Command } from "commander";
import { type Logger, openLog, type RunningServer, startServer, version } from "../app/index.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";
import { exitCodes } from "./sysexits.ts";

const sameSignalMs = 1_000;

export function serveCommand(): Command {
  const command = new Command("serve").description("run the mail server").action(serve);
  return addSettingFlags(command);
}

async function serve(options: Record<string, unknown>): Promise<void> {
  const { settings, origins, warnings } = settingsOf(options);
  const log = await openLog({
    level: settings.logLevel,
    format: settings.logFormat ?? (process.stderr.isTTY ? "text" : "json"),
  });
  for (const warning of warnings) log.warn(warning);

  const starting = startServer({
    settings,
    log,
    onDiskThreadDeath: (cause) => {
      log.fatal({ error: String(cause) }, "the disk thread died; ending without answering");
      process.exit(exitCodes.software);
    },
  });
  stopOnSignal(starting, log, settings.shutdownMs);
  const server = await starting;
  const dataFlag =
    origins.data === "default" ? "" : ` --data ${shellWord(shortest(settings.data))}`;
  console.log(`${banner(server, dataFlag)}\npostbag ready`);
}

function stopOnSignal(starting: Promise<RunningServer>, log: Logger, timeoutMs: number): void {
  let firstAtMs: number | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    if (firstAtMs !== undefined) {
      if (performance.now() - firstAtMs >= sameSignalMs) process.exit(1);
      return;
    }
    firstAtMs = performance.now();
    log.info({ signal }, "stopping");
    starting
      .then((server) => server.close({ timeoutMs }))
      .then(({ messages, deliveries }) => {
        if (messages + deliveries === 0) log.info("stopped");
        else log.warn({ messages, deliveries, timeoutMs }, "stopped; this was left unanswered");
        process.exit(exitCodes.ok);
      })
      .catch((error: unknown) => {
        log.fatal({ error: String(error) }, "could not stop in order");
        process.exit(exitCodes.software);
      });
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}

function banner({ data, listeners }: RunningServer, dataFlag: string): string {
  const smtp = listeners.find(({ protocol }) => protocol === "smtp");
  const addresses = listeners.map(
    ({ protocol, address }) => `  ${protocol.toUpperCase().padEnd(8)} ${linkOf(protocol, address)}`,
  );
  const lines = [`Postbag ${version} keeps mail in ${data.mail}`, "", ...addresses, ""];
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

/** A path as short as it can be typed here. */
function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith("..") ? path : fromHere || ".";
}

function shellWord(text: string): string {
  return /^[\w./@%+=:,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
