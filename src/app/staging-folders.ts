/**
 * The staging directories of journals, `.postbag-<journal id>`, seen from outside: they lie in the mail
 * root, and in a domain's folder when that is a file system of its own. No mailbox has such a name,
 * because a leading dot of an address is written as `%2E`.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { isAbsent } from "./inbound/local-mailboxes.ts";

/** Paths of all staging directories below a mail root. */
export async function stagingFolders(mailRoot: string): Promise<string[]> {
  const names = await namesIn(mailRoot);
  const domains = names.filter((name) => !name.startsWith("."));
  const device = await deviceOf(mailRoot);
  const homes = [mailRoot];
  for (const domain of domains) {
    const folder = join(mailRoot, domain);
    // On the mail root's own file system there is none, and a domain may have very many mailboxes.
    if ((await deviceOf(folder)) !== device) homes.push(folder);
  }
  const found = homes.map(async (home) =>
    (await namesIn(home))
      .filter((name) => name.startsWith(".postbag-"))
      .map((name) => join(home, name)),
  );
  return (await Promise.all(found)).flat();
}

/** Messages that could not be published and are kept in `orphans/` of any journal. */
export async function countOrphans(mailRoot: string): Promise<number> {
  const folders = (await stagingFolders(mailRoot)).flatMap((path) =>
    ["new", "cur"].map((folder) => join(path, "orphans", folder)),
  );
  const names = await Promise.all(folders.map(namesIn));
  return names.flat().length;
}

async function deviceOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).dev;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}
