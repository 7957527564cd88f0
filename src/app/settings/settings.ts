/**
 * Reads the settings of the table (table.ts): a flag overrides the environment, the environment the
 * configuration file, the file the default. Called by every command, through cli/setting-flags.ts.
 *
 * A wrong value stops the program; none is corrected. An unknown name in the file stops it too, and
 * the error has the nearest known name: a misspelt limit without effect is worse than no limit. The
 * configuration file is JSON, which every language writes and Node reads.
 */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { errnoOf } from "../../system/index.ts";
import { AppError } from "../errors.ts";
import { nearestName } from "./nearest.ts";
import {
  flagOf,
  type SettingName,
  type Settings,
  settingNames,
  settingOf,
  variableOf,
} from "./table.ts";

/** The origin of a value: `--max-batch`, `POSTBAG_DATA`, the path of a file, or `default`. */
export type Origin = string;

export interface LoadedSettings {
  readonly settings: Settings;
  readonly origins: Readonly<Record<SettingName, Origin>>;
  /** One text for each ignored variable whose name is near to a known name. */
  readonly warnings: readonly string[];
}

export interface SettingSources {
  /** Values from the command line by setting name; a repeated flag is a list. */
  readonly flags?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** The path given with `--config`. */
  readonly configFile?: string | undefined;
  /** @defaultValue `process.env` */
  readonly environment?: NodeJS.ProcessEnv;
  /**
   * The folder from which relative paths in flags and variables start.
   * @defaultValue `process.cwd()`
   */
  readonly workingFolder?: string;
}

interface Given {
  readonly text: string;
  readonly origin: Origin;
  readonly folder: string;
}

const prefix = "POSTBAG_";
const configVariable = `${prefix}CONFIG`;

/**
 * Collects every setting from its sources.
 *
 * @throws {AppError} `ERR_APP_USAGE` for a wrong value of a flag, `ERR_APP_SETTING_INVALID` for one
 *   of a variable or the file, `ERR_APP_SETTING_UNKNOWN` for an unknown key in the file,
 *   `ERR_APP_CONFIG_FILE` for a file that cannot be read or has no JSON object. The message about a
 *   wrong value has the text received and its origin.
 */
export function loadSettings(sources: SettingSources = {}): LoadedSettings {
  const { flags = {}, environment = process.env, workingFolder = process.cwd() } = sources;
  const configFile = sources.configFile ?? (environment[configVariable] || undefined);
  const layers = [
    fromFlags(flags, workingFolder),
    fromEnvironment(environment, workingFolder),
    configFile === undefined ? new Map() : fromFile(resolve(workingFolder, configFile)),
  ];
  const settings: Partial<Record<SettingName, unknown>> = {};
  const origins: Partial<Record<SettingName, Origin>> = {};
  for (const name of settingNames) {
    const given: Given | undefined = layers.find((layer) => layer.has(name))?.get(name);
    settings[name] = given ? readValue(name, given) : defaultOf(name, workingFolder);
    origins[name] = given?.origin ?? "default";
  }
  return {
    settings: settings as Settings,
    origins: origins as Record<SettingName, Origin>,
    warnings: unknownVariables(environment),
  };
}

function fromFlags(flags: NonNullable<SettingSources["flags"]>, folder: string) {
  const layer = new Map<string, Given>();
  for (const [name, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const text = typeof value === "string" ? value : value.join(",");
    layer.set(name, { text, origin: flagOf(name), folder });
  }
  return layer;
}

function fromEnvironment(environment: NodeJS.ProcessEnv, folder: string) {
  const layer = new Map<string, Given>();
  for (const name of settingNames) {
    const text = environment[variableOf(name)];
    if (text !== undefined && text !== "")
      layer.set(name, { text, origin: variableOf(name), folder });
  }
  return layer;
}

/** Relative paths in the file start at the folder of the file, not at the working folder. */
function fromFile(path: string) {
  const layer = new Map<string, Given>();
  for (const [name, value] of Object.entries(readObject(path))) {
    if (!settingNames.some((known) => known === name)) {
      throw new AppError(
        "ERR_APP_SETTING_UNKNOWN",
        `Unknown setting "${name}" in ${path}${suggestion(name, settingNames)}`,
      );
    }
    layer.set(name, { text: textOf(name, value, path), origin: path, folder: dirname(path) });
  }
  return layer;
}

function readObject(path: string): object {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    const why =
      cause instanceof SyntaxError ? `is not JSON: ${cause.message}` : whyUnreadable(cause);
    throw new AppError("ERR_APP_CONFIG_FILE", `The configuration file ${path} ${why}`, { cause });
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new AppError(
      "ERR_APP_CONFIG_FILE",
      `The configuration file ${path} must hold one JSON object, such as {"maxBatch": 64}`,
    );
  }
  return parsed;
}

function whyUnreadable(cause: unknown): string {
  if (errnoOf(cause) === "ENOENT") return "does not exist";
  return `cannot be read (${errnoOf(cause) ?? String(cause)})`;
}

function textOf(name: string, value: unknown, path: string): string {
  const items = Array.isArray(value) ? value : [value];
  if (items.every((item) => ["string", "number", "boolean"].includes(typeof item))) {
    return items.join(",");
  }
  throw invalid(name as SettingName, JSON.stringify(value), path);
}

function readValue(name: SettingName, { text, origin, folder }: Given): unknown {
  const value = settingOf(name).kind.read(text, folder);
  if (value === undefined) throw invalid(name, JSON.stringify(text), origin);
  return value;
}

function defaultOf(name: SettingName, folder: string): unknown {
  const { kind, default: value } = settingOf(name);
  return typeof value === "string" ? kind.read(value, folder) : value;
}

function invalid(name: SettingName, received: string, origin: Origin): AppError {
  const { expected } = settingOf(name).kind;
  return new AppError(
    origin === flagOf(name) ? "ERR_APP_USAGE" : "ERR_APP_SETTING_INVALID",
    `${name} must be ${expected}; got ${withoutSecret(received)} (${origin})`,
  );
}

/** Hides the password in a text that looks like a URL. */
function withoutSecret(text: string): string {
  return text.replace(/(:\/\/[^\s:@/"]*):[^\s"]*@/, "$1:***@");
}

/**
 * Warns of each `POSTBAG_` variable that is unknown and near to a known name. No unknown variable
 * stops the program: Docker and Kubernetes set variables such as `POSTBAG_PORT_25_TCP_ADDR` for a
 * service named "postbag".
 */
function unknownVariables(environment: NodeJS.ProcessEnv): string[] {
  const known = [...settingNames.map(variableOf), configVariable];
  return Object.keys(environment).flatMap((name) => {
    if (!name.startsWith(prefix) || known.includes(name)) return [];
    const nearest = nearestName(
      name.slice(prefix.length),
      known.map((each) => each.slice(prefix.length)),
    );
    if (nearest === undefined) return [];
    return [`Unknown variable ${name} has no effect (did you mean ${prefix}${nearest}?)`];
  });
}

/** " (did you mean x?)" with the nearest known name, or an empty text when no name is near. */
function suggestion(typed: string, known: Iterable<string>): string {
  const nearest = nearestName(typed, known);
  return nearest === undefined ? "" : ` (did you mean ${nearest}?)`;
}
