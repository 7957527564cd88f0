/** What a setting is: a row of the table in settings-table.ts. */
import type { Kind } from "./kinds.ts";

export interface Setting<T, Default extends T | undefined = T | undefined> {
  readonly kind: Kind<T>;
  readonly default: Default;
  /** What holds when the setting is not given and has no fixed default. */
  readonly otherwise?: string;
  /** One line, without the default. */
  readonly doc: string;
  readonly group: SettingGroup;
}

export type SettingGroup = "everyday" | "server" | "outbound" | "limits" | "commit";

/** Makes a row. */
export function setting<T, const Default extends T | undefined>(
  group: SettingGroup,
  kind: Kind<T>,
  fallback: Default,
  doc: string,
  otherwise?: string,
): Setting<T, Default> {
  return { kind, default: fallback, doc, group, ...(otherwise !== undefined && { otherwise }) };
}
