/**
 * The start of the command line: runs the command of the arguments, and turns an error into one
 * line and an exit code. Standard output has the result of a command; standard error has errors,
 * warnings and the log.
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
  // `serve` has all settings, so its full help is the help about all settings.
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
// An exit code that a command has set itself, such as that of `doctor`, stays.
if (code !== exitCodes.ok) process.exitCode = code;
