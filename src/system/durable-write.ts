/**
 * Writes a small file so that readers, also after a power cut, see the old contents or the new,
 * never a part.
 *
 * The bytes are written to a temporary file beside the target and flushed; the file takes the
 * name of the target in one step; then the directory is flushed. The temporary name holds the id
 * of its process, by which files of crashed writers are recognised and removed.
 *
 * Source: rename(2), fsync(2); docs/explanation/durability.md for what a crash leaves.
 */
import { randomBytes } from "node:crypto";
import { basename, dirname, join, resolve } from "node:path";
import { type Clock, systemClock } from "./clock.ts";
import { errnoOf, refusal } from "./errors.ts";
import type { Descriptor, FileSystem } from "./file-system.ts";
import { nodeFileSystem } from "./node-file-system.ts";

export interface DurableWriteOptions {
  /** Permission bits of the file, independent of the umask. @defaultValue 0o600 */
  readonly mode?: number | undefined;
  /** Owner and group of the file. @defaultValue those of the process */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /**
   * Called with the finished temporary file before it is flushed and renamed; a rejection ends the
   * write without a change.
   */
  readonly beforeRename?:
    | ((temporary: { readonly path: string; readonly file: Descriptor }) => void | Promise<void>)
    | undefined;
  /** @defaultValue the machine's own */
  readonly fileSystem?: FileSystem | undefined;
  /** @defaultValue the machine's own */
  readonly clock?: Clock | undefined;
}

/** Temporary files of a younger age are never removed. */
const sweepAfterMs = 60 * 60 * 1000;

/** Distinguishes this process from an earlier one with the same id. */
const ownTag = randomBytes(8).toString("hex");
let count = 0;
const swept = new Set<string>();

/**
 * Replaces or creates the file at `path`. On return the new contents survive a power cut; after a
 * rejection the old ones are in place, unless only the last flush, of the directory, failed.
 *
 * A symbolic link at `path` is replaced, not followed. The first write of a process into a
 * directory removes the temporary files of crashed writers there.
 *
 * @throws the errno error of the failed step, with its `syscall`; the error of `beforeRename`.
 */
export async function writeFileDurably(
  path: string,
  bytes: Uint8Array | string,
  options: DurableWriteOptions = {},
): Promise<void> {
  const { mode = 0o600, owner, beforeRename, fileSystem = nodeFileSystem } = options;
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) {
    throw refusal("mode", "permission bits from 0 to 0o7777", mode);
  }
  const target = resolve(path);
  const temporary = temporaryName(target);
  const directory = fileSystem.openDirectory(`${dirname(target)}/.`);
  sweepOnce(dirname(target), options);
  try {
    const file = fileSystem.createExclusive(temporary, 0o600);
    try {
      await writeAndSync(file);
      fileSystem.rename(temporary, target);
    } catch (error) {
      attempt(() => fileSystem.unlink(temporary));
      throw error;
    }
    await fileSystem.sync(directory);
  } finally {
    attempt(() => fileSystem.close(directory));
  }

  async function writeAndSync(file: Descriptor): Promise<void> {
    let open = true;
    try {
      fileSystem.write(file, typeof bytes === "string" ? Buffer.from(bytes) : bytes);
      // Changing the owner clears special bits, so the mode comes after it.
      if (owner) fileSystem.changeOwner(file, owner.uid, owner.gid);
      fileSystem.changeMode(file, mode);
      await beforeRename?.({ path: temporary, file });
      await fileSystem.sync(file);
      open = false;
      fileSystem.close(file);
    } finally {
      if (open) attempt(() => fileSystem.close(file));
    }
  }
}

/**
 * Removes the temporary files of crashed writers in a directory: those older than an hour whose
 * process has ended. Returns their number.
 *
 * @throws the errno error of listing the directory.
 */
export function sweepTemporaryFiles(
  directory: string,
  {
    fileSystem = nodeFileSystem,
    clock = systemClock,
  }: Pick<DurableWriteOptions, "fileSystem" | "clock"> = {},
): number {
  const removable = fileSystem.list(directory).filter((name) => {
    const writer = writerOf(name);
    if (writer === undefined || isRunning(writer)) return false;
    const age = attempt(
      () => clock.wallTimeMs() - fileSystem.status(join(directory, name)).modifiedMs,
    );
    return age !== undefined && age >= sweepAfterMs;
  });
  return removable.filter((name) => succeeds(() => fileSystem.unlink(join(directory, name))))
    .length;
}

function sweepOnce(directory: string, options: DurableWriteOptions): void {
  if (swept.has(directory)) return;
  swept.add(directory);
  attempt(() => sweepTemporaryFiles(directory, options));
}

/**
 * Flushes one file with its metadata to the disk.
 *
 * @throws the errno error with its `syscall`: a missing file fails with ENOENT from `open`, a
 *   file that cannot be flushed, such as `/dev/null`, with EINVAL from `fsync`, a symbolic link
 *   with ELOOP.
 */
export async function syncFile(
  path: string,
  { fileSystem = nodeFileSystem }: Pick<DurableWriteOptions, "fileSystem"> = {},
): Promise<void> {
  const file = fileSystem.openForReading(path);
  try {
    await fileSystem.sync(file);
  } finally {
    attempt(() => fileSystem.close(file));
  }
}

function temporaryName(target: string): string {
  count += 1;
  return join(dirname(target), `.${basename(target)}.${process.pid}-${ownTag}-${count}.tmp`);
}

interface Writer {
  readonly pid: number;
  readonly tag: string;
}

function writerOf(name: string): Writer | undefined {
  const [, pid, tag] = /^\..+\.(\d+)-([0-9a-f]{16})-\d+\.tmp$/.exec(name) ?? [];
  return pid === undefined || tag === undefined ? undefined : { pid: Number(pid), tag };
}

function isRunning({ pid, tag }: Writer): boolean {
  if (pid === process.pid) return tag === ownTag;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) !== "ESRCH";
  }
}

function succeeds(action: () => void): boolean {
  return (
    attempt(() => {
      action();
      return true;
    }) === true
  );
}

/** Runs an action whose error does not change the outcome. */
function attempt<Value>(action: () => Value): Value | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
