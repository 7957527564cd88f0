/**
 * The seam to the disk: the calls to a file system that the rooms need, and no more.
 *
 * Calls that only touch the page cache are synchronous: they are made on a disk thread, where
 * that is about twice as fast as promises. Flushes wait for a device, so they return promises,
 * and several can run at once. Every error has `code`, `errno`, `syscall` and `path`, as Node's
 * own errors have. In the tests a simulated disk that loses unflushed changes implements the same
 * interface.
 *
 * A flush always takes a descriptor, because Linux reports a failed write-back once to every
 * descriptor that was open when it happened, and to no descriptor opened afterwards.
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
  /** When the file was made; distinguishes it from an earlier one with the same inode. */
  readonly bornMs: number;
  readonly device: number;
  readonly inode: number;
}

/** The space on a file system that an unprivileged process may still use (statfs(2)). */
export interface FileSystemSpace {
  readonly bytes: number;
  /** `undefined` if files are not counted, as on btrfs. */
  readonly files: number | undefined;
}

export interface FileSystem {
  /** Creates a file that must not exist: O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW (open(2)). */
  createExclusive(path: string, mode: number): Descriptor;
  /** Opens an existing file for reading: O_RDONLY|O_NOFOLLOW. */
  openForReading(path: string): Descriptor;
  /** Opens a directory, to flush it later: O_RDONLY|O_DIRECTORY|O_NOFOLLOW. */
  openDirectory(path: string): Descriptor;
  /** Appends all of `bytes` to the earlier writes; a short write is continued or fails. */
  write(file: Descriptor, bytes: Uint8Array): void;
  /** Reads the next bytes into `into`; returns how many, 0 at the end. */
  read(file: Descriptor, into: Uint8Array): number;
  /** Sets the modification time, in milliseconds since 1970 (futimens(2)). */
  setModified(file: Descriptor, modifiedMs: number): void;
  changeMode(file: Descriptor, mode: number): void;
  changeOwner(file: Descriptor, uid: number, gid: number): void;
  close(file: Descriptor): void;
  /** Gives a file another name at once; an existing file of that name is replaced (rename(2)). */
  rename(from: string, to: string): void;
  /**
   * Renames into an open directory, even if it has another path by now: rename(2) to
   * `/proc/self/fd/N/<name>`.
   */
  renameInto(from: string, directory: Descriptor, name: string): void;
  /** The path of an open directory as the kernel knows it: readlink of `/proc/self/fd/N`. */
  pathOf(directory: Descriptor): string;
  unlink(path: string): void;
  makeDirectory(path: string, mode: number): void;
  /** Names in a directory, without `.` and `..`, in no order. */
  list(directory: string): string[];
  /** Reads the status of a path itself; a symbolic link is not followed (lstat(2)). */
  status(path: string): FileStatus;
  /** Reads the free space of the file system of a path. */
  space(path: string): FileSystemSpace;
  /**
   * Opens an existing file for {@link writeAt}: O_WRONLY|O_DSYNC|O_NOFOLLOW. Bytes written through
   * this descriptor are on the disk when the write returns.
   */
  openForLog(path: string): Descriptor;
  /**
   * Writes all of `bytes` at `position` with one call (pwrite(2)). A short return is a failure,
   * because writing the rest would be a second write, and a second flush.
   */
  writeAt(file: Descriptor, bytes: Uint8Array, position: number): Promise<void>;
  /** Reads bytes at `position` into `into`; returns their number, 0 at the end (pread(2)). */
  readAt(file: Descriptor, into: Uint8Array, position: number): number;
  /**
   * Takes a lock that the kernel drops when the process ends, also by kill -9. The file is
   * created if missing; no other code may open it.
   *
   * @returns A function that releases the lock.
   * @throws an error with code `EAGAIN` while this process or another has the lock.
   */
  lock(path: string): () => void;
  /**
   * Asks a file system that copies on write (btrfs) to overwrite later files of `directory` in
   * place. Makes the attempt and never rejects.
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
 * Rejects if any file on that file system could not be written since the last call; the error does
 * not name the file.
 */
export type SyncFileSystem = (directory: string) => Promise<void>;
