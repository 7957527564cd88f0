/**
 * The seam to the disk: what the rooms need of a file system, and no more.
 *
 * Calls that only touch the page cache are synchronous: they are made on a disk thread, where
 * that is about twice as fast as promises. Flushes wait for a device, so they return promises and
 * several can be under way at once. Every failure carries `code`, `errno`, `syscall` and `path`,
 * as Node's own errors do. A simulated disk that forgets what was not flushed implements the same
 * interface in the tests.
 *
 * What is to be flushed is always named by a descriptor, because Linux reports a failed write-back
 * once to every descriptor that was open when it happened, and to nobody who opens afterwards.
 */
export type Descriptor = number;

export interface FileStatus {
  readonly kind: "file" | "directory" | "symlink" | "other";
  readonly size: number;
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedMs: number;
  readonly changedMs: number;
  /** When the file was made; tells it from an earlier one that had the same inode. */
  readonly bornMs: number;
  readonly device: number;
  readonly inode: number;
}

/** What an unprivileged process may still use of a file system (statfs(2)). */
export interface FileSystemSpace {
  readonly bytes: number;
  /** `undefined` where files are not counted, as on btrfs. */
  readonly files: number | undefined;
}

export interface FileSystem {
  /** Creates a file that must not exist: O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW (open(2)). */
  createExclusive(path: string, mode: number): Descriptor;
  /** Opens an existing file for reading: O_RDONLY|O_NOFOLLOW. */
  openForReading(path: string): Descriptor;
  /** Opens a directory in order to flush it later: O_RDONLY|O_DIRECTORY|O_NOFOLLOW. */
  openDirectory(path: string): Descriptor;
  /** Writes all of `bytes` behind what was written before; a short write is continued or fails. */
  write(file: Descriptor, bytes: Uint8Array): void;
  /** Reads the next octets into `into`; returns how many, 0 at the end. */
  read(file: Descriptor, into: Uint8Array): number;
  /** Sets the modification time, in milliseconds since 1970 (futimens(2)). */
  setModified(file: Descriptor, modifiedMs: number): void;
  changeMode(file: Descriptor, mode: number): void;
  changeOwner(file: Descriptor, uid: number, gid: number): void;
  close(file: Descriptor): void;
  /** Gives a file another name at once; an existing file of that name is replaced (rename(2)). */
  rename(from: string, to: string): void;
  /**
   * Renames into a directory held open, wherever its path leads by now: rename(2) to
   * `/proc/self/fd/N/<name>`.
   */
  renameInto(from: string, directory: Descriptor, name: string): void;
  /** The path of an open directory as the kernel knows it: readlink of `/proc/self/fd/N`. */
  pathOf(directory: Descriptor): string;
  unlink(path: string): void;
  makeDirectory(path: string, mode: number): void;
  /** Names in a directory, without `.` and `..`, in no order. */
  list(directory: string): string[];
  /** Looks at a path itself; a symbolic link is not followed (lstat(2)). */
  status(path: string): FileStatus;
  /** How much room the file system of a path has left. */
  space(path: string): FileSystemSpace;
  /**
   * Opens an existing file for {@link writeAt}: O_WRONLY|O_DSYNC|O_NOFOLLOW. What is written
   * through this descriptor is on the disk when the write returns.
   */
  openForLog(path: string): Descriptor;
  /**
   * Writes all of `bytes` at `position` with one call (pwrite(2)). A short return is a failure,
   * because writing the rest would be a second write, and a second flush.
   */
  writeAt(file: Descriptor, bytes: Uint8Array, position: number): Promise<void>;
  /** Reads octets at `position` into `into`; returns how many, 0 at the end (pread(2)). */
  readAt(file: Descriptor, into: Uint8Array, position: number): number;
  /**
   * Takes a lock that the kernel drops when the process ends, however it ends, and returns what
   * gives it back. The file is made if missing; nothing else may open it.
   *
   * @throws an error with code `EAGAIN` while it is held, by this process or another.
   */
  lock(path: string): () => void;
  /**
   * Asks that files made in `directory` from now on be overwritten in place, where the file system
   * copies on write (btrfs). Does what it can and never rejects.
   */
  preferInPlace(directory: string): Promise<void>;
  /** Flushes a file's data, and the metadata needed to read it back (fdatasync(2)). */
  syncData(file: Descriptor): Promise<void>;
  /** Flushes a file with all its metadata, or the names in a directory (fsync(2)). */
  sync(file: Descriptor): Promise<void>;
}

/**
 * Flushes a whole file system at once, data and names (syncfs(2)).
 *
 * Rejects when anything on that file system could not be written since the last call; the error
 * does not say whose file it was.
 */
export type SyncFileSystem = (directory: string) => Promise<void>;
