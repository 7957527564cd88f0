/**
 * A mounted file system on a disk with a volatile write cache, whose every write and flush is
 * recorded.
 *
 * The chain: file system → loop device → FUSE file (nbdfuse) → our own NBD server, in a process of
 * its own. It shows faults that a copied image or a file-system shutdown cannot: a missing device
 * flush, a torn write, reordered writes. With `flushMs` the disk is also the slow disk of the
 * benches: a flush costs the same on every machine. Needs root; call {@link missing} first.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { deserialize } from "node:v8";
import {
  defaultSizeMb,
  type FileSystemName,
  minSizeMb,
  newDirectory,
  release,
  sweep,
} from "./host.ts";
import type { Recording } from "./recording.ts";
import { controlName, type DiskProcessOptions, type DiskRequest } from "./requests.ts";
import type { DiskCounters, DiskSettings } from "./server.ts";

export {
  defaultSizeMb,
  type FileSystemName,
  fileSystems,
  missing,
  mountImage,
  newDirectory,
  release,
  sweep,
  unmount,
  untornBlocks,
} from "./host.ts";
export {
  type Cut,
  type Extent,
  ignoringFlushes,
  imagesAfter,
  type Keep,
  keeps,
  type Recording,
} from "./recording.ts";
export { type Behaviour, type DiskCounters, type DiskSettings, nowNs } from "./server.ts";

export interface DiskOptions {
  readonly fileSystem: FileSystemName;
  /** @defaultValue 320; at least 32 for ext4, 301 for XFS, 110 for btrfs */
  readonly sizeMb?: number;
  /** Time of each flush once the file system is mounted, in milliseconds. @defaultValue 0 */
  readonly flushMs?: number;
  /** Records every write in memory for {@link RecordedDisk.recording}. @defaultValue false */
  readonly record?: boolean;
  /**
   * Image of a disk of `sizeMb` to begin with, all of it durable.
   *
   * @defaultValue a new file system
   */
  readonly image?: string;
  /** Directory of sockets and mount point; must not exist. @defaultValue a temporary one */
  readonly directory?: string;
  /** Takes the disk down when this process ends, however it ends. @defaultValue true */
  readonly owned?: boolean;
}

/** The environment of child processes: a compile cache saves each the compilation. */
export const childEnvironment: NodeJS.ProcessEnv = {
  ...process.env,
  NODE_COMPILE_CACHE: join(import.meta.dirname, "../../../node_modules/.cache/postbag-tests"),
};

export class RecordedDisk {
  /** The root of the mounted file system. */
  readonly mountPoint: string;
  /** The process that serves the disk. */
  readonly pid: number;
  readonly #directory: string;
  readonly #process: ChildProcess;

  private constructor(directory: string, process: ChildProcess) {
    this.#directory = directory;
    this.#process = process;
    this.pid = process.pid!;
    this.mountPoint = join(directory, "mnt");
  }

  /** Makes a disk with a new file system or from an image, and mounts it. */
  static async up(options: DiskOptions): Promise<RecordedDisk> {
    const { fileSystem, sizeMb = defaultSizeMb } = options;
    if (sizeMb < minSizeMb[fileSystem]) {
      throw new Error(`${fileSystem} needs ${minSizeMb[fileSystem]} MB or more; got ${sizeMb}`);
    }
    await sweep();
    if (options.directory !== undefined) mkdirSync(options.directory, { mode: 0o700 });
    const directory = options.directory ?? newDirectory();
    const owned = options.owned ?? true;
    const settings: DiskProcessOptions = {
      fileSystem,
      sizeBytes: sizeMb * 1024 * 1024,
      settings: { flushMs: options.flushMs ?? 0, flushes: "work", writes: "work" },
      record: options.record ?? false,
      image: options.image,
      owned,
    };
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, "process.ts"), directory, JSON.stringify(settings)],
      {
        detached: true,
        env: childEnvironment,
        // A disk that outlives its owner must not hold the owner's terminal or pipe open.
        stdio: [owned ? "pipe" : "ignore", "pipe", owned ? "inherit" : "ignore"],
      },
    );
    const [first] = await Promise.race([once(child.stdout!, "data"), once(child, "exit")]);
    if (String(first) !== "up\n") {
      rmSync(directory, { recursive: true, force: true });
      throw new Error(`no disk with ${fileSystem}: its process ended with ${first}`);
    }
    child.stdout!.destroy();
    child.unref();
    return new RecordedDisk(directory, child);
  }

  counters(): Promise<DiskCounters> {
    return ask(this.#directory, { ask: "counters" });
  }

  /** Changes the time of a flush, or makes flushes or writes fail or stall. */
  async configure(change: Partial<DiskSettings>): Promise<void> {
    await ask(this.#directory, { ask: "configure", change });
  }

  /** All writes and flushes since the disk was new. */
  recording(): Promise<Recording> {
    return ask(this.#directory, { ask: "recording" });
  }

  /** Unmounts, detaches and removes the disk; safe to call twice. */
  async down(): Promise<void> {
    if (this.#process.exitCode === null) {
      this.#process.ref();
      const ended = once(this.#process, "exit");
      await takeDown(this.#directory);
      await ended;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.down();
  }
}

/** Takes down the disk in a directory, also if its process has ended, and removes it. */
export async function takeDown(directory: string): Promise<void> {
  const control = join(directory, controlName);
  if (!existsSync(control)) throw new Error(`there is no disk in ${directory}`);
  await ask(directory, { ask: "down" }).catch(() => release(directory));
  rmSync(directory, { recursive: true, force: true });
}

/** Sends a request to the process of the disk in a directory. */
export async function ask<T>(directory: string, request: DiskRequest): Promise<T> {
  const socket = connect(join(directory, controlName));
  socket.end(`${JSON.stringify(request)}\n`);
  return deserialize(await buffer(socket));
}
