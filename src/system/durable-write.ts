/**
 * Writes a small file such that a reader, or a power cut, meets the old contents or the new,
 * never half.
 *
 * The bytes go to a temporary file beside the target, are flushed, and take the target's name in
 * one step; then the directory is flushed. The temporary name tells who wrote it, so that what a
 * crashed writer left behind can be recognised and swept.
 *
 * Source: rename(2), fsync(2); docs/explanation/durability.md for what a crash leaves.
 */
import { randomBytes } from "node:crypto";
import { basename, dirname, join, resolve } from "node:path";
import { type Clock, systemClock } from "./clock.ts";
import { refusal } from "./errors.ts";
import type { Descriptor, FileSystem } from "./file-system.ts";
import { nodeFileSystem } from "./node-file-system.ts";

export interface DurableWriteOptions {
  /** Permission bits of the file, whatever the umask. @defaultValue 0o600 */
  readonly mode?: number;
  /** Owner and group of the file. @defaultValue those of the process */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /**
   * Runs on the finished temporary file before it is flushed and takes the name; a rejection
   * gives up.
   */
  readonly beforeRename?: (temporary: {
    readonly path: string;
    readonly file: Descriptor;
  }) => void | Promise<void>;
  /** @defaultValue the machine's own */
  readonly fileSystem?: FileSystem;
  readonly clock?: Clock;
}

/** Temporary files younger than this are never swept, whoever wrote them. */
const sweepAfterMs = 60 * 60 * 1000;

/** Tells this process from an earlier one that had the same id. */
const ownTag = randomBytes(8).toString("hex");
let count = 0;
const swept = new Set<string>();

/**
 * Replaces the file at `path`, or makes it. On return the new contents survive a power cut; after a
 * rejection the old ones are in place, unless only the last flush, of the directory, failed.
 *
 * A symbolic link at `path` is replaced, not followed. The first write of a process into a
 * directory sweeps what crashed writers left there.
 *
 * @throws the errno error of the step that failed, with its `syscall`; what `beforeRename` threw.
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
      await filled(file);
      fileSystem.rename(temporary, target);
    } catch (error) {
      attempt(() => fileSystem.unlink(temporary));
      throw error;
    }
    await fileSystem.sync(directory);
  } finally {
    attempt(() => fileSystem.close(directory));
  }

  async function filled(file: Descriptor): Promise<void> {
    let open = true;
    try {
      fileSystem.write(file, Buffer.from(bytes as Uint8Array));
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
 * Removes temporary files in a directory that writers left behind when they crashed: older than an
 * hour, and their process is gone. Returns how many.
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
  const leftBehind = fileSystem.list(directory).filter((name) => {
    const writer = writerOf(name);
    if (writer === undefined || isAtWork(writer)) return false;
    const age = attempt(
      () => clock.wallTimeMs() - fileSystem.status(join(directory, name)).modifiedMs,
    );
    return age !== undefined && age >= sweepAfterMs;
  });
  return leftBehind.filter((name) => succeeds(() => fileSystem.unlink(join(directory, name))))
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
 * @throws the errno error with its `syscall`: a missing file fails with ENOENT from `open`, what
 *   cannot be flushed, such as `/dev/null`, with EINVAL from `fsync`. A symbolic link is refused
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
  const match = /^\..+\.(\d+)-([0-9a-f]{16})-\d+\.tmp$/.exec(name);
  return match ? { pid: Number(match[1]), tag: match[2]! } : undefined;
}

function isAtWork({ pid, tag }: Writer): boolean {
  if (pid === process.pid) return tag === ownTag;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
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

/** Does what may fail without changing the outcome. */
function attempt<Value>(action: () => Value): Value | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
