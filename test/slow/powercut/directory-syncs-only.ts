/**
 * A method of methods.ts that loses mail: group commit by directory syncs only, a common mistake;
 * names are made durable, data is not. The rig must catch this loss, or its verdict on the engine
 * means nothing.
 */
import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

export async function deliverWithDirectorySyncsOnly(
  mailbox: string,
  bodies: readonly Buffer[],
): Promise<string[]> {
  const [tmp, fresh, cur] = ["tmp", "new", "cur"].map((name) => join(mailbox, name)) as Directories;
  for (const directory of [tmp, fresh, cur]) mkdirSync(directory, { recursive: true });
  for (const directory of [cur, mailbox, dirname(mailbox)]) sync(directory);
  const names = bodies.map((body) => `${randomUUID()},S=${body.length}`);
  for (const [index, name] of names.entries()) {
    writeFileSync(join(tmp, name), bodies[index]!, { flag: "wx" });
  }
  sync(tmp);
  for (const name of names) renameSync(join(tmp, name), join(fresh, name));
  sync(fresh);
  return names;
}

type Directories = [tmp: string, fresh: string, cur: string];

function sync(directory: string): void {
  const descriptor = openSync(directory, "r");
  fsyncSync(descriptor);
  closeSync(descriptor);
}
