/**
 * The real disk: each method is one system call through `node:fs`, with Node's error.
 *
 * Cheap calls block, flushes run in libuv's thread pool: {@link FileSystem} has the reason.
 */
import { execFile } from "node:child_process";
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fdatasync,
  fsync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  type Stats,
  statfsSync,
  unlinkSync,
  write,
  writeSync,
} from "node:fs";
import { promisify } from "node:util";
import type { Descriptor, FileStatus, FileSystem } from "./file-system.ts";
import { lockFile } from "./lock.ts";

const { O_CREAT, O_DIRECTORY, O_DSYNC, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;
const btrfsMagic = 0x9123683e;

/** The file system of this machine. */
export const nodeFileSystem: FileSystem = {
  createExclusive: (path, mode) => openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode),
  openForReading: (path) => openSync(path, O_RDONLY | O_NOFOLLOW),
  openDirectory: (path) => openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
  write: (file, bytes) => {
    let written = 0;
    while (written < bytes.length) written += writeSync(file, bytes, written);
  },
  read: (file, into) => readSync(file, into),
  setModified: (file, modifiedMs) => futimesSync(file, modifiedMs / 1000, modifiedMs / 1000),
  changeMode: fchmodSync,
  changeOwner: fchownSync,
  close: closeSync,
  rename: renameSync,
  renameInto: (from, directory, name) => renameSync(from, `/proc/self/fd/${directory}/${name}`),
  pathOf: (directory) => readlinkSync(`/proc/self/fd/${directory}`),
  unlink: unlinkSync,
  makeDirectory: (path, mode) => {
    mkdirSync(path, { mode });
  },
  list: (directory) => readdirSync(directory),
  status: (path) => fileStatus(lstatSync(path)),
  space: (path) => {
    const { bavail, bsize, files, ffree } = statfsSync(path);
    return { bytes: bavail * bsize, files: files > 0 ? ffree : undefined };
  },
  openForLog: (path) => openSync(path, O_WRONLY | O_DSYNC | O_NOFOLLOW),
  writeAt,
  readAt: (file, into, position) => readSync(file, into, 0, into.length, position),
  lock: lockFile,
  preferInPlace,
  syncData: promisify(fdatasync),
  sync: promisify(fsync),
};

function writeAt(file: Descriptor, bytes: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    write(file, bytes, 0, bytes.length, position, (error, written) => {
      if (error) reject(error);
      else if (written === bytes.length) resolve();
      else reject(shortWrite(written, bytes.length));
    });
  });
}

function shortWrite(written: number, wanted: number): NodeJS.ErrnoException {
  const error = new Error(`EIO: short write, ${written} of ${wanted} bytes, write`);
  return Object.assign(error, { code: "EIO", errno: -5, syscall: "write" });
}

async function preferInPlace(directory: string): Promise<void> {
  try {
    if (statfsSync(directory).type !== btrfsMagic) return;
    await promisify(execFile)("chattr", ["+C", directory]);
  } catch {
    // Without it every write there costs a second flush; nothing else changes.
  }
}

function fileStatus(stats: Stats): FileStatus {
  return {
    kind: kindOf(stats),
    size: stats.size,
    mode: stats.mode & 0o7777,
    links: stats.nlink,
    uid: stats.uid,
    gid: stats.gid,
    modifiedMs: stats.mtimeMs,
    changedMs: stats.ctimeMs,
    bornMs: stats.birthtimeMs,
    device: stats.dev,
    inode: stats.ino,
  };
}

function kindOf(stats: Stats): FileStatus["kind"] {
  if (stats.isFile()) return "file";
  if (stats.isDirectory()) return "directory";
  return stats.isSymbolicLink() ? "symlink" : "other";
}
