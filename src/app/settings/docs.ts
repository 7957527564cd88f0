/** Writes the table of settings for docs/reference/settings.md. */
import { defaultTextOf, flagOf, settingNames, settingOf } from "./table.ts";

/** Renders every setting as a row of a Markdown table. */
export function settingsMarkdown(): string {
  const rows = settingNames.map((name) => {
    const { kind, doc } = settingOf(name);
    const value = kind.shape.replaceAll("|", " or ");
    return `| \`${name}\` | \`${flagOf(name)}\` | ${value} | ${defaultTextOf(name)} | ${doc} |`;
  });
  return ["| setting | flag | value | default | what it does |", "| --- | --- | --- | --- | --- |"]
    .concat(rows)
    .join("\n");
}
