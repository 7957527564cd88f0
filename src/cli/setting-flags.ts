/**
 * The flags of a command, made from the table of settings; reads the settings from them. A command
 * with more than 12 settings shows only the everyday ones in `--help`; `--help all` shows them all.
 */
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
  server: "Server:",
  outbound: "Outbound mail:",
  limits: "Limits:",
  commit: "Group commit:",
};

/** A command with more settings than this hides in `--help` those that are not everyday ones. */
const maxShown = 12;

/** Adds a flag for each setting of `names`, under the title of its group, and `--config`. */
export function addSettingFlags(
  command: Command,
  names: readonly SettingName[] = settingNames,
): Command {
  const hidden = names.length > maxShown ? names.filter((name) => !settingOf(name).isEveryday) : [];
  for (const name of names) {
    const option = flagFor(name).hideHelp(hidden.includes(name));
    // The help of a command with few settings needs no groups.
    command.addOption(names.length > maxShown ? option : option.helpGroup("Settings:"));
  }
  command.addOption(
    new Option("--config <FILE>", "JSON file with settings by name").helpGroup(
      names.length > maxShown ? titles.server : "Settings:",
    ),
  );
  if (hidden.length > 0) {
    command.addHelpText("after", () =>
      isEverythingShown(command)
        ? ""
        : `\n${hidden.length} more settings: postbag ${command.name()} --help all`,
    );
  }
  return command;
}

/** Makes the help of a command list its hidden flags too. */
export function showEveryFlag(command: Command): void {
  for (const option of command.options) option.hidden = false;
}

function isEverythingShown(command: Command): boolean {
  return command.options.every(({ hidden }) => !hidden);
}

function flagFor(name: SettingName): Option {
  const { kind, doc, group, default: value } = settingOf(name);
  const isList = Array.isArray(value);
  const fallback = defaultTextOf(name);
  const hint = isList || fallback === "none" ? "" : ` (default: ${fallback})`;
  // A text that follows its flag begins in lower case, unless it begins with an acronym.
  const text = doc.replace(/\.$/, "").replace(/^[A-Z](?![A-Z])/, (first) => first.toLowerCase());
  const option = new Option(`${flagOf(name)} <${kind.shape}>`, `${text}${hint}`);
  option.helpGroup(titles[group]);
  // A repeated flag of a setting that is a list adds to the list; of others the last flag counts.
  if (isList) option.argParser((item, items) => [...((items as string[]) ?? []), item]);
  return option;
}

/** Loads the settings of a command from its flags, the environment and the configuration file. */
export function settingsOf(options: Readonly<Record<string, unknown>>): LoadedSettings {
  const given = settingNames.map((name) => [name, options[name] as string | undefined]);
  return loadSettings({
    flags: Object.fromEntries(given),
    configFile: options.config as string | undefined,
  });
}
