/**
 * The command line: reads the arguments, calls what does the work, and turns errors into one line and
 * an exit code. What a command prints on standard output is its result; everything else goes to
 * standard error.
 */
import { Command, CommanderError } from "commander";
import { AppError, version } from "../app/index.ts";
import { benchCommand } from "./bench.ts";
import { configCommand } from "./config.ts";
import { deliverCommand } from "./deliver.ts";
import { doctorCommand } from "./doctor.ts";
import { mailboxCommand } from "./mailbox.ts";
import { outboxCommand } from "./outbox.ts";
import { recoverCommand } from "./recover.ts";
import { sendCommand } from "./send.ts";
import { serveCommand } from "./serve.ts";
import { exitCodeOf, exitCodes } from "./sysexits.ts";
import { workerCommand } from "./worker.ts";

function postbag(): Command {
  const program = new Command("postbag")
    .description(
      "Takes in mail and keeps it in Maildirs, sends mail until it arrives; safe from power cuts.",
    )
    .version(version)
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .commandsGroup("Everyday:")
    .addCommand(serveCommand())
    .addCommand(sendCommand())
    .addCommand(mailboxCommand())
    .addCommand(outboxCommand())
    .addCommand(doctorCommand())
    .commandsGroup("More:")
    .addCommand(deliverCommand())
    .addCommand(workerCommand())
    .addCommand(recoverCommand())
    .addCommand(benchCommand())
    .addCommand(configCommand());
  for (const command of [program, ...everyCommandBelow(program)]) {
    command.exitOverride().showHelpAfterError(false).configureOutput({ outputError: printFault });
  }
  return program;
}

function everyCommandBelow(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...everyCommandBelow(child)]);
}

/** Commander's "error: ..." with its suggestion on a second line becomes one line of ours. */
function printFault(text: string, write: (text: string) => void): void {
  write(
    `postbag: ${text
      .trim()
      .replace(/^error: /, "")
      .replace(/\n+/g, " ")}\n`,
  );
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    await postbag().parseAsync(argv);
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.usage;
    if (!(error instanceof AppError)) throw error;
    console.error(`postbag: ${error.message}`);
    return exitCodeOf(error.code);
  }
}

// A closed pipe (`postbag mailbox list | head -1`) ends the command quietly.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : exitCodes.software);
});

const code = await main(process.argv);
// A command that set an exit code of its own (`doctor`) keeps it.
if (code !== exitCodes.ok) process.exitCode = code;
