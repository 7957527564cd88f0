/**
 * The command line's start: reads the arguments, runs a command, and turns errors into one line and
 * an exit code. Standard output has the result of a command; standard error has the rest.
 */
import { CommanderError } from "commander";
import { AppError } from "../app/index.ts";
import { createProgram } from "./program.ts";
import { exitCodeOf, exitCodes } from "./sysexits.ts";

const maxHelpWidth = 100;

async function main(args: readonly string[]): Promise<number> {
  const program = createProgram({
    isHelpFull: asksForFullHelp(args),
    helpWidth: Math.min(maxHelpWidth, process.stdout.columns ?? maxHelpWidth),
  });
  // The server has all settings, so its help is the help about all of them.
  const given = args.join(" ") === "help all" ? ["help", "serve"] : args;
  try {
    await program.parseAsync(given, { from: "user" });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.usage;
    if (!(error instanceof AppError)) throw error;
    console.error(`postbag: ${error.message}`);
    return exitCodeOf(error.code);
  }
}

/** Tells whether the arguments are `COMMAND --help all` or `help COMMAND all`. */
function asksForFullHelp(args: readonly string[]): boolean {
  return args.at(-1) === "all" && args.some((arg) => ["help", "--help", "-h"].includes(arg));
}

// A closed pipe (`postbag mailbox list | head -1`) ends the command quietly.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : exitCodes.software);
});

const code = await main(process.argv.slice(2));
// A command that set an exit code of its own (`doctor`) keeps it.
if (code !== exitCodes.ok) process.exitCode = code;
