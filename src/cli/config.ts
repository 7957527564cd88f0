/** The command `postbag config`: prints the effective settings, each with its value's origin. */
import { Command } from "commander";
import {
  defaultTextOf,
  type LoadedSettings,
  type SettingName,
  settingNames,
  settingOf,
} from "../app/index.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";

export function configCommand(): Command {
  const command = new Command("config")
    .description("show the settings and the origin of each")
    .option("--check", "only report whether the settings are valid")
    .option("--json", "print JSON, in the form of a configuration file")
    .action((options: Record<string, unknown>) => {
      const loaded = settingsOf(options);
      for (const warning of loaded.warnings) console.error(`postbag: ${warning}`);
      if (options.check) console.log("The configuration is in order.");
      else if (options.json) console.log(JSON.stringify(asFile(loaded), undefined, 2));
      else console.log(asTable(loaded));
    });
  return addSettingFlags(command);
}

function textOf(name: SettingName, { settings }: LoadedSettings): string | undefined {
  const value = settings[name];
  return value === undefined ? undefined : settingOf(name).kind.show(value);
}

function asTable(loaded: LoadedSettings): string {
  const rows = settingNames.map((name) => {
    const value = textOf(name, loaded);
    const shown = value === undefined ? `(${defaultTextOf(name)})` : value || "(none)";
    return [name, shown, loaded.origins[name]] as const;
  });
  const nameWidth = Math.max(...rows.map(([name]) => name.length));
  const shownWidth = Math.min(48, Math.max(...rows.map(([, shown]) => shown.length)));
  return rows
    .map(([name, shown, origin]) =>
      `${name.padEnd(nameWidth)}  ${shown.padEnd(shownWidth)}  ${origin}`.trimEnd(),
    )
    .join("\n");
}

function asFile(loaded: LoadedSettings): Record<string, unknown> {
  const entries = settingNames.map((name) => {
    const value = loaded.settings[name];
    const plain = ["number", "boolean"].includes(typeof value) || Array.isArray(value);
    return [name, plain ? value : textOf(name, loaded)];
  });
  return Object.fromEntries(entries);
}
