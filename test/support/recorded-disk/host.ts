/**
 * Machine resources of a recorded disk (the rig): loop devices, FUSE, mkfs and mount, and their
 * release.
 *
 * Every mount and loop device of the rig is under one directory. The remains of a crashed run are
 * found by that path and released, and no other mount or device is touched.
 */
import { execFile } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import type { IsUntorn } from "./recording.ts";

export const fileSystems = ["ext4", "xfs", "btrfs"] as const;
export type FileSystemName = (typeof fileSystems)[number];

export const defaultSizeMb = 320;
/** Below this size mkfs refuses, or makes no journal. */
export const minSizeMb: Record<FileSystemName, number> = { ext4: 32, xfs: 301, btrfs: 110 };

const directoryPrefix = "postbag-disk-";
const mkfs: Record<FileSystemName, readonly string[]> = {
  // Lazy initialisation would continue to write in the background, between the writes of the load.
  // And a disk this small would get blocks of 1024 bytes, unlike disks for mail.
  ext4: ["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
  xfs: ["-q", "-f", "-K"],
  btrfs: ["-q", "-f", "-K"],
};

/**
 * The blocks of 4096 bytes that each file system assumes to be written whole or not at all. A disk
 * with physical sectors of that size does not tear them, and no program could repair them if torn.
 *
 * btrfs cannot be mounted with a torn superblock, and its copy (at 64 MiB) is not rewritten at
 * every sync. ext4 writes its superblock outside its journal, and refuses one whose checksum is
 * wrong. XFS takes a block whose first sector has the newest sequence number as new, does not
 * replay its log over it, and then reads the old rest (xlog_recover_buf_commit_pass2 in the
 * kernel).
 */
export const untornBlocks: Record<FileSystemName, IsUntorn> = {
  ext4: (offset) => offset === 0,
  xfs: (offset, bytes) => offset % 4096 === 0 && xfsMagics.includes(textOf(bytes, 0, 4)),
  btrfs: (offset) => offset === 64 * 1024 || offset === 64 * 1024 * 1024,
};

/** Directories of one block, their data and free space; B-trees of space, inodes and extents. */
const xfsMagics = ["XDB3", "XDD3", "XDF3", "AB3B", "AB3C", "IAB3", "FIB3", "BMA3"];

function textOf(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.subarray(from, to)).toString("latin1");
}

const execute = promisify(execFile);

/** Runs a program to its end; rejects with its output. */
export async function run(program: string, ...args: string[]): Promise<string> {
  return (await execute(program, args)).stdout.trim();
}

/** The first need of the rig that this machine lacks; undefined if it has all. */
export function missing(fileSystem: FileSystemName): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  for (const device of ["/dev/fuse", "/dev/loop-control"]) {
    if (!existsSync(device)) return `needs ${device}`;
  }
  for (const program of ["nbdfuse", "losetup", "mount", "umount", `mkfs.${fileSystem}`]) {
    if (!isInstalled(program)) return `needs the program ${program}`;
  }
  return undefined;
}

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? "").split(":").some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export async function makeFileSystem(name: FileSystemName, device: string): Promise<void> {
  await run(`mkfs.${name}`, ...mkfs[name], device);
}

/** Mounts the disk image after a power cut; the file system replays its own journal. */
export async function mountImage(name: FileSystemName, image: string, at: string): Promise<void> {
  await run("mount", "-t", name, "-o", name === "xfs" ? "loop,nouuid" : "loop", image, at);
}

/**
 * Unmounts `at`; waits up to two seconds for a process that is just ending. Does nothing where `at`
 * is not mounted, because a sweep and an ending owner may both unmount.
 */
export async function unmount(at: string): Promise<void> {
  for (let attempt = 0; attempt < 100 && mountPoints().includes(at); attempt++) {
    await run("umount", at).catch(() => pause(20));
  }
  // A busy file system is then unmounted as soon as its last user ends.
  if (mountPoints().includes(at)) await run("umount", "--lazy", at);
}

/** Releases every mount and loop device under a directory, last mounted first. */
export async function release(directory: string): Promise<void> {
  const mounted = mountPoints().filter((path) => path.startsWith(`${directory}/`));
  const fuse = mounted.filter((path) => path.endsWith("/disk"));
  for (const path of mounted.filter((path) => !fuse.includes(path)).reverse()) await unmount(path);
  for (const device of loopDevices(directory)) {
    await run("losetup", "--detach", device).catch((cause) => {
      if (loopDevices(directory).includes(device)) throw cause;
    });
  }
  for (const path of fuse) await unmount(path);
}

function mountPoints(): string[] {
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .flatMap((line) => line.split(" ")[1] ?? []);
}

/** Loop devices whose backing file lies under a directory (sysfs, loop/backing_file). */
function loopDevices(directory: string): string[] {
  return readdirSync("/sys/block").flatMap((name) => {
    try {
      const file = readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8");
      return file.startsWith(`${directory}/`) ? [`/dev/${name}`] : [];
    } catch {
      return [];
    }
  });
}

/** Makes a directory for a rig; its name has the process id of the owner. */
export function newDirectory(): string {
  return mkdtempSync(join(tmpdir(), `${directoryPrefix}${process.pid}-`));
}

/** Releases and removes the remains of rigs whose owner has ended. */
export async function sweep(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const owner =
      name.startsWith(directoryPrefix) && name.slice(directoryPrefix.length).split("-")[0];
    if (!owner || existsSync(`/proc/${owner}`)) continue;
    await release(join(tmpdir(), name));
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}
