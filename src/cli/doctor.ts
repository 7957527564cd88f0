/** The command `postbag doctor`: prints the checks of app/doctor, each fault with advice. */
import { Command } from "commander";
import type { Check } from "../app/doctor/check.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";
import { exitCodes } from "./sysexits.ts";

const marks = { good: "ok", warning: "warning", bad: "BAD" } as const;

export function doctorCommand(): Command {
  const command = new Command("doctor")
    .description("examine this machine and show how to correct faults")
    .option("--json", "print JSON")
    .action(async (options: Record<string, unknown>) => {
      const { examine } = await import("../app/doctor/doctor.ts");
      const report = await examine(settingsOf(options).settings);
      if (options.json) console.log(JSON.stringify(report, undefined, 2));
      else console.log(report.checks.map(asText).join("\n"));
      if (!report.healthy) process.exitCode = exitCodes.unavailable;
    });
  return addSettingFlags(command);
}

function asText({ name, state, found, advice }: Check): string {
  const line = `${marks[state].padEnd(8)} ${name}: ${found}`;
  return advice === undefined ? line : `${line}\n         → ${advice}`;
}
