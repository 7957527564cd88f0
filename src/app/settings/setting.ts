/** A row of the table of settings (table.ts). */
import type { Kind } from "./kinds.ts";

export interface Setting<T, Default extends T | undefined = T | undefined> extends SettingText {
  readonly group: SettingGroup;
  readonly kind: Kind<T>;
  readonly default: Default;
}

export interface SettingText {
  /** One line, without the default. */
  readonly doc: string;
  /** The default as a text, where it is not a fixed value. */
  readonly otherwise?: string | undefined;
  /** Whether `--help` shows it; `--help all` shows every setting. @defaultValue false */
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
