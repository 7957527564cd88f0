/** Builds the command line with all commands, their help and error texts; main.ts runs it. */
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
  /** Whether the help of a command lists all its flags, or only the everyday ones. */
  readonly isHelpFull: boolean;
  /** The width of help texts, in columns. */
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

/** The subcommands of a command and theirs, at every depth, in the order of the help. */
export function everyCommandBelow(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...everyCommandBelow(child)]);
}

/** Writes commander's "error: ..." and the suggestion on its second line as one line. */
function printError(text: string, write: (text: string) => void): void {
  write(
    `postbag: ${text
      .trim()
      .replace(/^error: /, "")
      .replace(/\n+/g, " ")}\n`,
  );
}
