/** One process on the simulated disk: its descriptors, its file system, and its end. */
import type {
  Descriptor,
  FileStatus,
  FileSystem,
  FileSystemSpace,
} from "../../../src/system/index.ts";
import type { SimDisk } from "./disk.ts";
import { errnoError, Gone } from "./errors.ts";
import { type Inode, snapshot } from "./inode.ts";

interface OpenFile {
  readonly inode: Inode;
  readonly path: string;
  position: number;
  /** Failures of this file that the descriptor has reported, or that are older than it. */
  failuresSeen: number;
}

export class SimProcess implements FileSystem {
  readonly #disk: SimDisk;
  readonly #files = new Map<Descriptor, OpenFile>();
  #descriptors = 2;
  #isDead = false;

  constructor(disk: SimDisk) {
    this.#disk = disk;
  }

  /** Ends the process as kill -9 does: its writes stay in the cache. */
  kill(): void {
    this.#isDead = true;
    this.#files.clear();
    this.#disk.abandonFlushes(this);
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Whether it was killed, or the power cut. */
  get hasEnded(): boolean {
    return this.#isDead || this.#disk.isOff;
  }

  /** Paths of the descriptors not closed; none should be left between batches. */
  get openFiles(): readonly string[] {
    return [...this.#files.values()].map(({ path }) => path);
  }

  /** Throws once the process has been killed. */
  live(): void {
    if (this.#isDead) throw new Gone("the process was killed");
  }

  createExclusive(path: string, mode: number): Descriptor {
    this.#call("open", path);
    const { directory, name } = this.#parent(path, "open");
    if (directory.names.has(name)) throw errnoError("EEXIST", "open", path);
    const inode = this.#disk.newInode("file", mode, directory);
    inode.modifiedMs = this.#disk.clockMs;
    inode.changedMs = this.#disk.clockMs;
    directory.mount.add(directory, name, inode);
    return this.#open(inode, path);
  }

  openForReading(path: string): Descriptor {
    this.#call("open", path);
    return this.#open(this.#find(path, "open"), path);
  }

  openDirectory(path: string): Descriptor {
    this.#call("open", path);
    const inode = this.#find(path, "open");
    if (inode.kind !== "directory") throw errnoError("ENOTDIR", "open", path);
    return this.#open(inode, path);
  }

  write(file: Descriptor, bytes: Uint8Array): void {
    const open = this.#file(file, "write");
    const errno = this.#disk.called(this, "write", open.path);
    // A write that fails for lack of space has mostly written some bytes.
    const written = errno ? bytes.subarray(0, Math.floor(bytes.length / 2)) : bytes;
    open.inode.bytes = concat(open.inode.bytes.subarray(0, open.position), written);
    open.position += written.length;
    open.inode.modifiedMs = this.#disk.clockMs;
    open.inode.changedMs = this.#disk.clockMs;
    if (errno) throw errnoError(errno, "write", open.path);
  }

  read(file: Descriptor, into: Uint8Array): number {
    const open = this.#file(file, "read");
    this.#call("read", open.path);
    const piece = open.inode.bytes.subarray(open.position, open.position + into.length);
    into.set(piece);
    open.position += piece.length;
    return piece.length;
  }

  setModified(file: Descriptor, modifiedMs: number): void {
    const { inode, path } = this.#file(file, "futime");
    this.#call("futime", path);
    inode.modifiedMs = modifiedMs;
    inode.changedMs = this.#disk.clockMs;
  }

  changeMode(file: Descriptor, mode: number): void {
    const { inode, path } = this.#file(file, "fchmod");
    this.#call("fchmod", path);
    inode.mode = mode;
  }

  changeOwner(file: Descriptor): void {
    this.#call("fchown", this.#file(file, "fchown").path);
  }

  close(file: Descriptor): void {
    const { path } = this.#file(file, "close");
    this.#files.delete(file);
    this.#call("close", path);
  }

  rename(from: string, to: string): void {
    this.#call("rename", `${from} -> ${to}`);
    const { directory, name } = this.#parent(to, "rename");
    this.#move(from, directory, name);
  }

  renameInto(from: string, directory: Descriptor, name: string): void {
    const open = this.#file(directory, "rename");
    this.#call("rename", `${from} -> ${open.path}/${name}`);
    this.#move(from, open.inode, name);
  }

  pathOf(directory: Descriptor): string {
    const { inode, path } = this.#file(directory, "readlink");
    this.#call("readlink", path);
    return this.#disk.pathOf(inode) ?? `${path} (deleted)`;
  }

  unlink(path: string): void {
    this.#call("unlink", path);
    const { directory, name } = this.#parent(path, "unlink");
    directory.mount.remove(directory, name, this.#find(path, "unlink"));
  }

  makeDirectory(path: string, mode: number): void {
    this.#call("mkdir", path);
    const { directory, name } = this.#parent(path, "mkdir");
    if (directory.names.has(name)) throw errnoError("EEXIST", "mkdir", path);
    directory.mount.add(directory, name, this.#disk.newInode("directory", mode, directory));
  }

  list(directory: string): string[] {
    this.#call("scandir", directory);
    const inode = this.#find(directory, "scandir");
    if (inode.kind !== "directory") throw errnoError("ENOTDIR", "scandir", directory);
    return [...inode.names.keys()];
  }

  status(path: string): FileStatus {
    this.#call("lstat", path);
    const inode = this.#find(path, "lstat");
    return {
      kind: inode.kind,
      size: inode.bytes.length,
      mode: inode.mode,
      links: inode.kind === "file" ? this.#disk.linksOf(inode) : 2,
      uid: 0,
      gid: 0,
      modifiedMs: inode.modifiedMs,
      changedMs: inode.changedMs,
      bornMs: inode.number,
      device: inode.mount.device,
      inode: inode.number,
    };
  }

  space(path: string): FileSystemSpace {
    this.#call("statfs", path);
    this.#find(path, "statfs");
    return this.#disk.space;
  }

  openForLog(path: string): Descriptor {
    this.#call("open", path);
    return this.#open(this.#find(path, "open"), path);
  }

  async writeAt(file: Descriptor, bytes: Uint8Array, position: number): Promise<void> {
    const open = this.#file(file, "pwrite");
    const { inode } = open;
    const errno = this.#disk.called(this, "pwrite", open.path);
    // The caller may use its buffer again once the call has returned, even if it was killed.
    const copy = Uint8Array.from(bytes);
    inode.overwrite(copy, position);
    await this.#disk.flush(this, () => {
      if (errno) this.#disk.failInode(inode, errno);
      else inode.flushRange(copy, position);
      if (inode.failures > open.failuresSeen) {
        open.failuresSeen = inode.failures;
        throw errnoError(inode.lastErrno, "pwrite", open.path);
      }
    });
  }

  readAt(file: Descriptor, into: Uint8Array, position: number): number {
    const { inode, path } = this.#file(file, "pread");
    this.#call("pread", path);
    const piece = inode.bytes.subarray(position, position + into.length);
    into.set(piece);
    return piece.length;
  }

  lock(path: string): () => void {
    this.#call("lock", path);
    const holder = this.#disk.locks.get(path);
    if (holder && !holder.isDead) throw errnoError("EAGAIN", "lock", path);
    this.#disk.locks.set(path, this);
    return () => {
      if (this.#disk.locks.get(path) === this) this.#disk.locks.delete(path);
    };
  }

  async preferInPlace(): Promise<void> {}

  syncData(file: Descriptor): Promise<void> {
    return this.#flush(file, "fdatasync");
  }

  sync(file: Descriptor): Promise<void> {
    return this.#flush(file, "fsync");
  }

  async #flush(file: Descriptor, syscall: "fsync" | "fdatasync"): Promise<void> {
    const open = this.#file(file, syscall);
    const { inode } = open;
    const errno = this.#disk.called(this, syscall, open.path);
    const { settle } = snapshot(inode);
    const modifiedMs = inode.durableModifiedMs;
    await this.#disk.flush(this, () => {
      if (errno) this.#disk.failInode(inode, errno);
      if (!errno || inode.kind === "file") settle();
      // fdatasync(2) need not carry a modification time.
      if (syscall === "fdatasync") inode.durableModifiedMs = modifiedMs;
      const hasNews = inode.failures > open.failuresSeen;
      open.failuresSeen = inode.failures;
      if (hasNews) throw errnoError(inode.lastErrno, syscall, open.path);
    });
  }

  #move(from: string, target: Inode, name: string): void {
    const source = this.#parent(from, "rename");
    const inode = this.#find(from, "rename");
    // For two names of one file rename(2) does nothing.
    if (target.names.get(name) === inode) return;
    if (inode.mount !== target.mount || inode.tree !== target.tree) {
      throw errnoError("EXDEV", "rename", from);
    }
    target.mount.rename(source.directory, source.name, inode, target, name);
    inode.changedMs = this.#disk.clockMs;
  }

  #call(name: string, path: string): void {
    const errno = this.#disk.called(this, name, path);
    if (errno) throw errnoError(errno, name, path);
  }

  #open(inode: Inode, path: string): Descriptor {
    this.#descriptors += 1;
    const open = { inode, path, position: 0, failuresSeen: inode.failures };
    this.#files.set(this.#descriptors, open);
    return this.#descriptors;
  }

  #file(file: Descriptor, syscall: string): OpenFile {
    this.live();
    const open = this.#files.get(file);
    if (!open) throw errnoError("EBADF", syscall, `descriptor ${file}`);
    return open;
  }

  #find(path: string, syscall: string): Inode {
    let inode = this.#disk.root;
    for (const name of path.split("/")) {
      if (name === "" && inode.kind === "directory") continue;
      if (inode.kind !== "directory") throw errnoError("ENOTDIR", syscall, path);
      if (name === ".") continue;
      const next = inode.names.get(name);
      if (!next) throw errnoError("ENOENT", syscall, path);
      inode = next;
    }
    return inode;
  }

  #parent(path: string, syscall: string): { readonly directory: Inode; readonly name: string } {
    const slash = path.lastIndexOf("/");
    const directory = this.#find(path.slice(0, slash) || "/", syscall);
    if (directory.kind !== "directory") throw errnoError("ENOTDIR", syscall, path);
    return { directory, name: path.slice(slash + 1) };
  }
}

function concat(head: Uint8Array, tail: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(head.length + tail.length);
  both.set(head);
  both.set(tail, head.length);
  return both;
}
