/**
 * The directories of one mailbox, before mail goes into them.
 *
 * A message is only as durable as the path that leads to it. So the first delivery of a process
 * into a mailbox makes the missing directories (0700), and every directory from `new/`, `cur/`
 * and `tmp/` up to the mail root is flushed, even if another process made it, which may have been
 * killed before its own flush. Later deliveries recognise the mailbox by device, inode and birth
 * of its directories. Below the mail root no symbolic link is followed: a user of one mailbox
 * must not redirect its mail into another.
 */
import { dirname, join, relative, resolve, sep } from "node:path";
import { errnoOf, type FileStatus, type FileSystem, invariant } from "../system/index.ts";
import { MaildirError, refusal } from "./errors.ts";

export interface Mailbox {
  readonly path: string;
  readonly tmp: string;
  readonly new: string;
  readonly cur: string;
  /** Tells file systems apart. */
  readonly device: number;
  /** Device, inode and birth of the mailbox and of its three directories. */
  readonly identity: string;
  /** Directories to flush before a message in the mailbox is durable; none for a known mailbox. */
  readonly unflushed: readonly string[];
}

/** The mailboxes whose directories this process has flushed. */
export interface KnownMailboxes {
  has(mailbox: Mailbox): boolean;
  remember(mailbox: Mailbox): void;
  forget(mailbox: Mailbox): void;
}

/** Makes an empty set of known mailboxes; one for each disk thread is enough. */
export function createKnownMailboxes(): KnownMailboxes {
  const identities = new Map<string, string>();
  return {
    has: ({ path, identity }) => identities.get(path) === identity,
    remember: ({ path, identity }) => {
      identities.set(path, identity);
    },
    forget: ({ path }) => {
      identities.delete(path);
    },
  };
}

export interface MailboxTools {
  readonly fileSystem: FileSystem;
  readonly known: KnownMailboxes;
  /**
   * The mail root, an existing directory above the mailboxes; below it no symbolic link is
   * followed. Without it a link in the given path is followed, and directories are flushed up to
   * the mount point.
   */
  readonly root?: string | undefined;
}

/**
 * Makes the missing directories of a mailbox and lists the directories to flush. Flushes none
 * itself.
 *
 * @throws MaildirError `ERR_MAILDIR_NOT_A_MAILDIR`, `_SYMLINK`, `_DIRECTORY_FAILED`,
 *   `_INVALID_ARGUMENT`
 */
export function prepareMailbox(path: string, tools: MailboxTools): Mailbox {
  if (typeof path !== "string" || path === "") {
    throw refusal("maildir", "a path", path);
  }
  const { fileSystem, known, root } = tools;
  const mailboxPath = resolve(path);
  const own =
    root === undefined
      ? ensureWithParents(mailboxPath, fileSystem)
      : ensureBelow(root, mailboxPath, fileSystem);
  const places = {
    tmp: join(mailboxPath, "tmp"),
    new: join(mailboxPath, "new"),
    cur: join(mailboxPath, "cur"),
  };
  const inner = Object.values(places).map((place) => ensureDirectory(place, fileSystem));
  const mailbox: Mailbox = {
    path: mailboxPath,
    ...places,
    device: own.device,
    identity: [own, ...inner].map(fingerprint).join(" "),
    unflushed: [],
  };
  if (known.has(mailbox)) return mailbox;
  const upward = root === undefined ? toMountPoint(mailbox, fileSystem) : toRoot(mailbox, root);
  return { ...mailbox, unflushed: [places.new, places.cur, places.tmp, ...upward] };
}

function fingerprint({ device, inode, bornMs }: FileStatus): string {
  return `${device}:${inode}:${bornMs}`;
}

/** Lists the directories below `root` down to the mailbox itself, from the top. */
function below(root: string, mailbox: string): string[] {
  const way = relative(resolve(root), mailbox);
  if (way === "" || way === ".." || way.startsWith(`..${sep}`)) {
    throw new MaildirError(
      "ERR_MAILDIR_INVALID_ARGUMENT",
      `mailbox ${mailbox} is not below the mail root ${root}`,
      { path: mailbox },
    );
  }
  const names = way.split(sep);
  return names.map((_, depth) => join(resolve(root), ...names.slice(0, depth + 1)));
}

function ensureBelow(root: string, mailbox: string, fileSystem: FileSystem): FileStatus {
  const statuses = below(root, mailbox).map((directory) => ensureDirectory(directory, fileSystem));
  const own = statuses.at(-1);
  invariant(own !== undefined, "a mailbox below the mail root has a directory of its own");
  return own;
}

/** Returns the status of a directory that must not be a link; makes it if it is missing. */
function ensureDirectory(path: string, fileSystem: FileSystem): FileStatus {
  const status = statusOrMissing(path, path, fileSystem) ?? makeDirectory(path, path, fileSystem);
  if (status.kind === "directory") return status;
  if (status.kind === "symlink") {
    throw new MaildirError(
      "ERR_MAILDIR_SYMLINK",
      `${path} is a symbolic link; no mail is delivered through it`,
      { path },
    );
  }
  return makeDirectory(path, path, fileSystem);
}

/** The same for a path given by the caller itself, which may be a link and may lack its parents. */
function ensureWithParents(path: string, fileSystem: FileSystem): FileStatus {
  const status = statusOrMissing(path, followed(path), fileSystem);
  if (status !== undefined) return status;
  if (dirname(path) !== path) ensureWithParents(dirname(path), fileSystem);
  return makeDirectory(path, followed(path), fileSystem);
}

function makeDirectory(path: string, lookAt: string, fileSystem: FileSystem): FileStatus {
  try {
    fileSystem.makeDirectory(path, 0o700);
  } catch (error) {
    // Another process may have made it meanwhile.
    const status = statusOrMissing(path, lookAt, fileSystem);
    if (status?.kind !== "directory") throw directoryError(path, error);
  }
  const status = statusOrMissing(path, lookAt, fileSystem);
  if (status === undefined) {
    throw new MaildirError(
      "ERR_MAILDIR_DIRECTORY_FAILED",
      `${path} was removed while it was made`,
      {
        path,
      },
    );
  }
  return status;
}

function statusOrMissing(
  path: string,
  lookAt: string,
  fileSystem: FileSystem,
): FileStatus | undefined {
  try {
    return fileSystem.status(lookAt);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw directoryError(path, error);
  }
}

function directoryError(path: string, cause: unknown): MaildirError {
  const inTheWay = ["EEXIST", "ENOTDIR"].includes(errnoOf(cause) ?? "");
  return inTheWay
    ? new MaildirError("ERR_MAILDIR_NOT_A_MAILDIR", `${path} is not a directory`, { path, cause })
    : new MaildirError(
        "ERR_MAILDIR_DIRECTORY_FAILED",
        `directory ${path} cannot be created or opened`,
        {
          path,
          cause,
        },
      );
}

/** Returns a path by which calls that follow no symbolic link still follow one. */
function followed(path: string): string {
  return `${path}/.`;
}

function toRoot(mailbox: Mailbox, root: string): string[] {
  return [...below(root, mailbox.path).reverse(), followed(resolve(root))];
}

/**
 * A directory of another file system holds no name of ours, so the list ends at the mount point. It
 * also ends at a directory that this process may not open, such as `/home` on some machines.
 */
function toMountPoint(mailbox: Mailbox, fileSystem: FileSystem): string[] {
  const way: string[] = [];
  for (let at = mailbox.path; ; at = dirname(at)) {
    const directory = followed(at);
    if (fileSystem.status(directory).device !== mailbox.device) return way;
    if (at !== mailbox.path && !mayOpen(directory, fileSystem)) return way;
    way.push(directory);
    if (dirname(at) === at) return way;
  }
}

function mayOpen(directory: string, fileSystem: FileSystem): boolean {
  try {
    fileSystem.close(fileSystem.openDirectory(directory));
    return true;
  } catch (error) {
    if (errnoOf(error) === "EACCES") return false;
    throw directoryError(directory, error);
  }
}
