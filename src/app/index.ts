/**
 * The door of `app`: the settings, the errors, and the outbox rows that the command line prints.
 *
 * It loads nothing else. A command imports its code from `app/commands/`, `app/server/`
 * and `app/doctor/` when it runs, because `postbag deliver` starts once for each message and needs
 * no server.
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
