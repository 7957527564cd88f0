/**
 * Flushes a whole file system, data and names, with one call: syncfs(2), which Node does not have.
 *
 * One long-lived helper process (perl or python3, the first that works here) has a descriptor
 * open and calls syncfs on request. It must be long-lived: the kernel reports a failed write-back
 * to descriptors that were open when it happened, and reports success to a helper started
 * afterwards, such as `sync -f`. For the same reason a handle that has reported one error is
 * spent: the error may concern files of a later caller, and the kernel does not repeat it.
 *
 * Source: sync(2); errors are reported since Linux 5.8, all of them since 5.17.
 */
import { statSync } from "node:fs";
import { arch, platform, release } from "node:os";
import { type Clock, systemClock } from "../clock.ts";
import { refusal, SystemError } from "../errors.ts";
import { type Helper, HelperLine } from "./helper-line.ts";
import { shareNext } from "./share-next.ts";
import { helpersFor } from "./syncfs-helpers.ts";

export interface FileSystemSync {
  /**
   * Flushes all earlier writes on the file system; concurrent callers share a flush.
   *
   * @throws the errno error of syncfs(2), or SystemError `ERR_SYSTEM_HELPER_GONE`, `_HELPER_SLOW`,
   *   `_CLOSED`. Which data was lost is not known. Every later call rejects with the same error.
   */
  sync(): Promise<void>;
  /**
   * Whether `sync` can still succeed. If not, open another one before the writes it is to flush.
   */
  readonly usable: boolean;
  /** Waits for flushes in progress and ends the helper. Idempotent. */
  close(): Promise<void>;
}

export interface FileSystemSyncOptions {
  /** Time limit for one answer, in milliseconds. @defaultValue 60000 */
  readonly timeoutMs?: number | undefined;
  /** @defaultValue the machine's own */
  readonly clock?: Clock | undefined;
  /** Helper programs to try, in order. @defaultValue perl, then python3 */
  readonly helpers?: readonly Helper[] | undefined;
}

/**
 * Opens a flush of the file system of `directory`.
 *
 * Open it before the first write that it is to flush. It does not keep the process alive, and
 * ends with it.
 *
 * @returns `undefined` if the machine cannot do it: older than Linux 5.17, or no helper program
 *   works.
 * @throws the errno error if `directory` does not exist.
 */
export async function openFileSystemSync(
  directory: string,
  options: FileSystemSyncOptions = {},
): Promise<FileSystemSync | undefined> {
  const { timeoutMs = 60_000, clock = systemClock, helpers = helpersFor(arch()) } = options;
  if (!Number.isFinite(timeoutMs) || timeoutMs <= 0) {
    throw refusal("timeoutMs", "a number above 0", timeoutMs);
  }
  statSync(directory);
  if (platform() !== "linux" || !reportsEveryError(release())) return undefined;
  for (const helper of helpers) {
    const line = new HelperLine(helper, directory, timeoutMs, clock);
    if (await line.answersZero()) return flushOver(line);
    await line.end();
  }
  return undefined;
}

/** Whether syncfs of a kernel release reports all errors: 5.17 or newer. */
export function reportsEveryError(kernelRelease: string): boolean {
  const [major = 0, minor = 0] = kernelRelease.split(".").map((part) => Number.parseInt(part, 10));
  return major > 5 || (major === 5 && minor >= 17);
}

function flushOver(line: HelperLine): FileSystemSync {
  let failure: unknown;
  let closed = false;
  const flush = shareNext(async () => {
    if (failure !== undefined) throw failure;
    try {
      await line.ask();
    } catch (error) {
      failure = error;
      throw error;
    }
  });
  return {
    sync: async () => {
      if (closed)
        throw new SystemError("ERR_SYSTEM_CLOSED", "The flush of the file system is closed.");
      await flush();
    },
    get usable() {
      return !closed && failure === undefined && line.alive;
    },
    close: async () => {
      if (!closed) {
        closed = true;
        await flush.idle();
      }
      await line.end();
    },
  };
}
