/** Builds the command line: all commands, with their help and their error texts. */
import { Command } from "commander";
import { version } from "../app/index.ts";
import { benchCommand } from "./bench.ts";
import { configCommand } from "./config.ts";
import { deliverCommand } from "./deliver.ts";
import { doctorCommand } from "./doctor.ts";
import { mailboxCommand } from "./mailbox.ts";
import { outboxCommand } from "./outbox.ts";
import { recoverCommand } from "./recover.ts";
import { sendCommand } from "./send.ts";
import { serveCommand } from "./serve.ts";
import { showEveryFlag } from "./setting-flags.ts";
import { workerCommand } from "./worker.ts";

export interface ProgramOptions {
  /** Whether `--help` shows every setting, not only the everyday ones. */
  readonly isHelpFull: boolean;
  /** Columns of the help. */
  readonly helpWidth: number;
}

export function createProgram({ isHelpFull, helpWidth }: ProgramOptions): Command {
  const program = new Command("postbag")
    .description(
      "Receives mail into Maildirs and sends mail until it arrives; no power cut loses either.",
    )
    .version(version, "-V, --version", "show the version")
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
    .addCommand(configCommand())
    .addHelpCommand(
      new Command("help")
        .argument("[command]")
        .description("show the help of a command")
        .helpGroup("More:"),
    )
    .addHelpText("after", "\nThe settings of a command: postbag COMMAND --help");
  for (const command of [program, ...everyCommandBelow(program)]) {
    command
      .helpOption("-h, --help", "show this help")
      .configureHelp({ helpWidth })
      .configureOutput({ outputError: printError })
      .exitOverride()
      .showHelpAfterError(false);
    if (command !== program) command.helpCommand(false);
    if (isHelpFull) showEveryFlag(command);
  }
  return program;
}

/** All commands below a command, in the order of its help. */
export function everyCommandBelow(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...everyCommandBelow(child)]);
}

/** Turns commander's "error: ..." with a suggestion on a second line into one line. */
function printError(text: string, write: (text: string) => void): void {
  write(
    `postbag: ${text
      .trim()
      .replace(/^error: /, "")
      .replace(/\n+/g, " ")}\n`,
  );
}
