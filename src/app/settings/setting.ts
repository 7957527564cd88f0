/** The type of a row of the table of settings (table.ts, outbound-table.ts). */
import type { Kind } from "./kinds.ts";

export interface Setting<T, Default extends T | undefined = T | undefined> extends SettingText {
  readonly group: SettingGroup;
  readonly kind: Kind<T>;
  readonly default: Default;
}

export interface SettingText {
  /** The text for `--help` and docs/reference/settings.md: one line, without the default. */
  readonly doc: string;
  /** The default in words, such as `journal in the data folder`, where it is no fixed value. */
  readonly otherwise?: string | undefined;
  /** Whether `--help` shows this setting; `--help all` shows every setting. @defaultValue false */
  readonly isEveryday?: boolean | undefined;
}

export type SettingGroup = "server" | "outbound" | "limits" | "commit";

/** Makes a row. */
export function setting<T, const Default extends T | undefined>(
  group: SettingGroup,
  kind: Kind<T>,
  fallback: Default,
  text: SettingText,
): Setting<T, Default> {
  return { group, kind, default: fallback, ...text };
}
