/**
 * The door of `app`, the room that builds the server and the commands from all other rooms but
 * `cli`. It exports the settings, the errors, and the outbox rows that the command line prints.
 *
 * This file loads nothing else. `cli` imports the code of a command from `app/commands/`,
 * `app/server/` or `app/doctor/` when that command runs, because `postbag deliver` starts once for
 * each message and needs no server.
 */
export type {
  AttemptRow,
  DeliveryRow,
  DeliveryState,
  MessageRow,
  Outbox,
  StoreStats,
} from "../outbox/index.ts";
export { AppError, type AppErrorCode } from "./errors.ts";
export { version } from "./observe/version.ts";
export { type LoadedSettings, loadSettings, type Origin } from "./settings/settings.ts";
export {
  defaultTextOf,
  flagOf,
  type SettingGroup,
  type SettingName,
  type Settings,
  settingNames,
  settingOf,
  variableOf,
} from "./settings/table.ts";
