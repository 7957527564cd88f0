/**
 * A disk that loses unflushed changes, for tests of the rooms that store mail.
 *
 * It has two states of bytes and names, live and durable. Programs see the live one through the
 * `FileSystem` of a process; a cut leaves any state that the unflushed changes allow. Every call
 * is one instant at which the power can be cut or the process killed, and every flush two,
 * because it takes time. Everything is drawn from one seed, so that a run can be repeated.
 *
 * It is stricter than ext4, XFS and btrfs: flushing a file does not flush its name, and an error
 * that one descriptor has reported is not reported to one opened later. Names come in two kinds
 * (mount.ts): any of them may survive, and flushing `tmp/` alone does not make a rename durable;
 * or they survive in order.
 */
import type { FileSystemSpace, SyncFileSystem } from "../../../src/system/index.ts";
import type { SeededRandom } from "../seeded-random.ts";
import { rootAfterCut } from "./crash.ts";
import { errnoError, Gone } from "./errors.ts";
import { Inode, inodes, snapshot } from "./inode.ts";
import { Mount, type NameOrder } from "./mount.ts";
import { SimProcess } from "./process.ts";

/** One call, by which a fault decides whether the call fails. */
export interface Operation {
  /** Number of the call, from 1. */
  readonly number: number;
  readonly name: string;
  readonly path: string;
}

export interface Fault {
  readonly errno: string;
  matches(operation: Operation): boolean;
}

interface Flush {
  readonly owner: SimProcess;
  readonly complete: () => void;
  readonly abandon: (reason: Error) => void;
}

export class SimDisk {
  readonly random: SeededRandom;
  root: Inode;
  /** Calls so far: the number of the last one. */
  operations = 0;
  /** Instants so far at which the power could have been cut. */
  instants = 0;
  /** The instant at which the power is cut. */
  cutAt: number | undefined;
  /** The instant at which the calling process is killed. */
  killAt: number | undefined;
  faults: Fault[] = [];
  /** The calls, for the message of a failing test. */
  readonly trace: string[] = [];
  /** Runs between flushes, such as the turn of a reader. */
  onTurn: (() => void) | undefined;
  clockMs = Date.UTC(2026, 0, 1);
  /** The process that holds a lock, by path; a lock of a dead process is free. */
  readonly locks = new Map<string, SimProcess>();
  /**
   * Whether a failed flush of a directory loses its changes, where names have no order; else they
   * stay pending. A journalling file system that cannot write its journal stops altogether.
   */
  directoriesForget = true;
  /** The result of statfs. */
  space: FileSystemSpace = { bytes: 2 ** 40, files: 2 ** 20 };

  #isOff = false;
  #inodes: number;
  #flushes: Flush[] = [];
  #scheduled = false;

  constructor(random: SeededRandom, root: Inode | NameOrder = "any") {
    this.random = random;
    this.root = root instanceof Inode ? root : new Inode(1, "directory", 0o755, new Mount(1, root));
    this.#inodes = 1 + highestNumber(this.root);
  }

  get isOff(): boolean {
    return this.#isOff;
  }

  /** Starts a process, which is the file system as it sees it until it is killed. */
  start(): SimProcess {
    return new SimProcess(this);
  }

  cut(): void {
    this.#isOff = true;
    const flushes = this.#flushes.splice(0);
    for (const flush of flushes) flush.abandon(new Gone("the power is cut"));
  }

  /** One of the disks that the cut may have left; each call draws another one. */
  afterCut(random: SeededRandom = this.random): SimDisk {
    const disk = new SimDisk(random, rootAfterCut(this.root, random));
    disk.directoriesForget = this.directoriesForget;
    disk.trace.push(...this.trace, "-- power cut --");
    disk.clockMs = this.clockMs;
    return disk;
  }

  /** Makes a directory outside of any process, durably. */
  furnish(path: string, device?: number): Inode {
    const slash = path.lastIndexOf("/");
    const parent = this.inodeAt(path.slice(0, slash))!;
    const mount = device === undefined ? parent.mount : new Mount(device, parent.mount.order);
    const directory = new Inode(++this.#inodes, "directory", 0o755, mount);
    this.#place(parent, path.slice(slash + 1), directory);
    return directory;
  }

  /** Makes a file outside of any process, durably. */
  furnishFile(path: string, bytes: Uint8Array<ArrayBuffer>): void {
    const slash = path.lastIndexOf("/");
    const parent = this.inodeAt(path.slice(0, slash))!;
    const file = this.newInode("file", 0o600, parent);
    file.bytes = bytes;
    file.durableBytes = bytes;
    this.#place(parent, path.slice(slash + 1), file);
  }

  /** Puts a directory at a path, as mounting or unmounting a file system does. */
  mountAt(path: string, directory: Inode): void {
    const slash = path.lastIndexOf("/");
    this.#place(this.inodeAt(path.slice(0, slash))!, path.slice(slash + 1), directory);
  }

  #place(parent: Inode, name: string, inode: Inode): void {
    parent.names.set(name, inode);
    parent.durableNames.set(name, inode);
  }

  /** The file or directory at a path, as programs see it. */
  inodeAt(path: string): Inode | undefined {
    let inode: Inode | undefined = this.root;
    for (const name of path.split("/").filter(Boolean)) inode = inode?.names.get(name);
    return inode;
  }

  /**
   * Opens a flush of the file system of a directory (default: the root), as a helper does that
   * has its descriptor open from now on.
   */
  openSync(owner: SimProcess, home = "/"): SyncFileSystem {
    const { mount } = this.inodeAt(home) ?? this.root;
    let seen = mount.failures;
    let spent: Error | undefined;
    return async (directory) => {
      const errno = this.called(owner, "syncfs", directory);
      const written = this.#filesOn(mount).map((inode) => snapshot(inode));
      const changes = [...mount.pending];
      await this.flush(owner, () => {
        if (errno) {
          const concerned = written.map(({ inode }) => inode);
          this.#failSome(concerned, errno);
          for (const { settle } of written) if (this.random.below(2)) settle();
        } else {
          for (const { inode, settle } of written) if (inode.kind === "file") settle();
          mount.commit(changes);
        }
        if (mount.failures > seen || errno) {
          spent ??= errnoError(errno ?? mount.lastErrno, "syncfs", directory);
        }
        seen = mount.failures;
        if (spent) throw spent;
      });
    };
  }

  #filesOn(mount: Mount): Inode[] {
    return [...inodes(this.root)].filter((inode) => inode.mount === mount);
  }

  /** Lets the kernel fail to write a dirty file back. Returns whether there was one. */
  failWriteBack(errno = "EIO"): boolean {
    const dirty = [...inodes(this.root)].filter(({ isDirty }) => isDirty);
    const inode = dirty[this.random.below(dirty.length)];
    if (inode) this.failInode(inode, errno);
    return inode !== undefined;
  }

  /** Drops cached bytes that will never reach the disk: reads then show the bytes of the disk. */
  dropCaches(): void {
    for (const inode of inodes(this.root)) if (inode.forsaken) inode.bytes = inode.durableBytes;
  }

  /** Fails a flush of one file or directory; a later flush of its file system reports it too. */
  failInode(inode: Inode, errno: string): void {
    const forgets = this.directoriesForget && inode.mount.order === "any";
    inode.fail(errno, this.random, forgets);
    inode.mount.failures += 1;
    inode.mount.lastErrno = errno;
  }

  #failSome(candidates: readonly Inode[], errno: string): void {
    for (const inode of candidates) {
      const concerned = inode.isDirty || (inode.changes.length > 0 && this.random.below(2) === 0);
      if (concerned) this.failInode(inode, errno);
    }
  }

  /** Counts a call and one instant; returns the errno with which the call fails, if it does. */
  called(owner: SimProcess, name: string, path: string): string | undefined {
    this.instant(owner);
    this.operations += 1;
    this.trace.push(`${this.operations} ${name} ${path}`);
    const operation = { number: this.operations, name, path };
    return this.faults.find((fault) => fault.matches(operation))?.errno;
  }

  instant(owner: SimProcess): void {
    if (this.#isOff) throw new Gone("the power is cut");
    this.instants += 1;
    this.clockMs += 1;
    if (this.instants === this.cutAt) this.cut();
    if (this.#isOff) throw new Gone("the power is cut");
    if (this.instants === this.killAt) owner.kill();
    owner.live();
  }

  /** Completes a flush later; flushes in progress finish in any order. */
  flush(owner: SimProcess, effect: () => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const complete = () => {
      try {
        this.instant(owner);
        effect();
        resolve();
      } catch (error) {
        reject(error);
      }
    };
    this.#flushes.push({ owner, complete, abandon: reject });
    this.#schedule();
    return promise;
  }

  /** Rejects the flushes of a killed process. */
  abandonFlushes(owner: SimProcess): void {
    const abandoned = this.#flushes.filter((flush) => flush.owner === owner);
    this.#flushes = this.#flushes.filter((flush) => flush.owner !== owner);
    for (const flush of abandoned) flush.abandon(new Gone("the process was killed"));
  }

  newInode(kind: "file" | "directory", mode: number, parent: Inode): Inode {
    this.#inodes += 1;
    const inode = new Inode(this.#inodes, kind, mode, parent.mount);
    inode.tree = parent.tree;
    return inode;
  }

  /** The number of names of a file. */
  linksOf(file: Inode): number {
    return namesOf(file, this.root, "").length;
  }

  pathOf(inode: Inode): string | undefined {
    return inode === this.root ? "/" : namesOf(inode, this.root, "")[0];
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#isOff) this.onTurn?.();
      const [flush] = this.#flushes.splice(this.random.below(this.#flushes.length), 1);
      flush?.complete();
      if (this.#flushes.length > 0) this.#schedule();
    });
  }
}

/** Every path of a file or directory, as programs see them. */
function namesOf(sought: Inode, directory: Inode, path: string): string[] {
  return [...directory.names].flatMap(([name, inode]) => [
    ...(inode === sought ? [`${path}/${name}`] : []),
    ...(inode.kind === "directory" ? namesOf(sought, inode, `${path}/${name}`) : []),
  ]);
}

function highestNumber(root: Inode): number {
  return Math.max(...[...inodes(root)].map((inode) => inode.number));
}
