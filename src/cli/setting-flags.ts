/** The flags of a command, made from the table of settings. */
import { type Command, Option } from "commander";
import {
  defaultTextOf,
  flagOf,
  type LoadedSettings,
  loadSettings,
  type SettingGroup,
  type SettingName,
  settingNames,
  settingOf,
} from "../app/index.ts";

const titles: Readonly<Record<SettingGroup, string>> = {
  everyday: "Options:",
  server: "More about the server:",
  outbound: "Mail out:",
  limits: "Limits:",
  commit: "Group commit:",
};

/** Adds a flag for each of the settings, under the title of its group, and `--config`. */
export function addSettingFlags(
  command: Command,
  names: readonly SettingName[] = settingNames,
): Command {
  for (const name of names) {
    const { kind, doc, group, default: value } = settingOf(name);
    const isList = Array.isArray(value);
    const text = isList ? doc : `${doc.replace(/\.$/, "")} (default: ${defaultTextOf(name)})`;
    const option = new Option(`${flagOf(name)} <${kind.shape}>`, text).helpGroup(titles[group]);
    // A repeated flag collects when its setting is a list.
    if (isList) option.argParser((item, items) => [...((items as string[]) ?? []), item]);
    command.addOption(option);
  }
  return command.addOption(
    new Option("--config <FILE>", "JSON file with settings by name").helpGroup(titles.everyday),
  );
}

/** Loads the settings a command was given by its flags, the environment and the file. */
export function settingsOf(options: Readonly<Record<string, unknown>>): LoadedSettings {
  const given = settingNames.map((name) => [name, options[name] as string | undefined]);
  return loadSettings({
    flags: Object.fromEntries(given),
    configFile: options.config as string | undefined,
  });
}
