/** Prints the table of settings, for docs/reference/settings.md. */
import { settingsMarkdown } from "../src/app/settings/docs.ts";

console.log(settingsMarkdown());
