/**
 * The staging directories on disk: their names, and the names that have a meaning inside them.
 *
 * `.postbag-<journal id>/` lies in the mail root, or in a directory below the root that is a volume
 * of its own. No mailbox has such a name: a leading dot of an address is written as `%2E`. These
 * names are spelt in this file only; other rooms call {@link listStaging}.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../../system/index.ts";

const prefix = ".postbag-";

/** Names in a staging directory that belong to no message. */
export const stagingNames = {
  /** A file that names the journal and volume of the directory (identity.ts). */
  identity: "identity",
  /** A file locked by the process that uses the directory. */
  lock: "lock",
  /** A Maildir of messages that could not be published. */
  orphans: "orphans",
  /** A directory of files that the log does not mention, set aside because the log was damaged. */
  aside: "aside",
} as const;

/** The staging directory of a journal inside a volume's directory. */
export function stagingIn(directory: string, journalId: string): string {
  return join(directory, `${prefix}${journalId}`);
}

/** The Maildir of messages that could not be published. */
export function orphansIn(staging: string): string {
  return join(staging, stagingNames.orphans);
}

/** A staging directory and the files in it that need an operator. */
export interface StagingDirectory {
  readonly path: string;
  /** The id of the journal that the directory belongs to. */
  readonly journalId: string;
  /** The Maildir of messages that could not be published, and how many it has. */
  readonly orphans: { readonly path: string; readonly messages: number };
  /** The directory of files that a damaged journal may have mentioned, and how many it has. */
  readonly setAside: { readonly path: string; readonly files: number };
}

/**
 * Lists the staging directories of all journals below a mail root, without taking their locks.
 *
 * @throws the errno error of a directory that exists and cannot be read.
 */
export async function listStaging(mailRoot: string): Promise<StagingDirectory[]> {
  const directories = await volumeDirectories(mailRoot);
  const found = await Promise.all(
    directories.map(async (directory) =>
      (await namesIn(directory))
        .filter((name) => name.startsWith(prefix))
        .map((name) => describe(directory, name)),
    ),
  );
  return Promise.all(found.flat());
}

async function describe(directory: string, name: string): Promise<StagingDirectory> {
  const path = join(directory, name);
  const orphans = orphansIn(path);
  const aside = join(path, stagingNames.aside);
  const delivered = ["new", "cur"].map((folder) => namesIn(join(orphans, folder)));
  return {
    path,
    journalId: name.slice(prefix.length),
    orphans: { path: orphans, messages: (await Promise.all(delivered)).flat().length },
    setAside: { path: aside, files: (await namesIn(aside)).length },
  };
}

/** The mail root, and the domains' directories that are volumes of their own. */
async function volumeDirectories(mailRoot: string): Promise<string[]> {
  const names = await namesIn(mailRoot);
  const device = await deviceOf(mailRoot);
  const directories = [mailRoot];
  for (const name of names.filter((name) => !name.startsWith("."))) {
    const directory = join(mailRoot, name);
    // A directory on the mail root's own volume has no staging directory and is not listed: it may
    // have many mailboxes.
    if ((await deviceOf(directory)) !== device) directories.push(directory);
  }
  return directories;
}

async function deviceOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).dev;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "");
}
