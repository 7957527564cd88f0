import { readFile } from "node:fs/promises";
import { writeFileDurably } from "postbag/system";

// A reader, or a power cut, meets the old contents or the new, never half.
await writeFileDurably("./settings.json", '{ "greeting": "Hello" }\n', { mode: 0o644 });
await writeFileDurably("./settings.json", '{ "greeting": "Good day" }\n', {
  mode: 0o644,
  beforeRename: ({ path }) => console.log(`not yet in place: ${path !== "./settings.json"}`),
});
console.log(await readFile("./settings.json", "utf8"));
