/** Prints the table of settings, for docs/operations.md. */
import { settingsMarkdown } from "../src/app/settings/docs.ts";

console.log(settingsMarkdown());
