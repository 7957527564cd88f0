/** The command `postbag recover`: prints the result of app/commands/recover.ts. */
import { Command } from "commander";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";
import { exitCodes } from "./sysexits.ts";

const codes = {
  done: exitCodes.ok,
  unpublished: exitCodes.temporary,
  damaged: exitCodes.data,
} as const;

export function recoverCommand(): Command {
  const command = new Command("recover")
    .description("publish the mail of the journal while no server runs")
    .option("--dry-run", "only show what would be done")
    .option("--accept-damage", "afterwards move the segments of a damaged journal aside")
    .action(async (options: Record<string, unknown>) => {
      const { recoverJournal } = await import("../app/commands/recover.ts");
      const { lines, state } = await recoverJournal({
        settings: settingsOf(options).settings,
        isDryRun: options.dryRun === true,
        acceptDamage: options.acceptDamage === true,
      });
      console.log(lines.join("\n"));
      if (state !== "done") process.exitCode = codes[state];
    });
  return addSettingFlags(command, ["data", "journal", "journalSegmentBytes", "journalSegments"]);
}
