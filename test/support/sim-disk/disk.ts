/**
 * A disk that forgets what was not flushed, for tests of the rooms that store mail.
 *
 * It keeps two states of bytes and names, live and durable. Programs see the live one through the
 * `FileSystem` of a process; a cut leaves any state the unflushed changes allow. Every call is one
 * instant at which the power can be cut or the process killed, and every flush two, because it takes
 * time. Everything is drawn from one seed, so that a run can be run again.
 *
 * It is stricter than ext4, XFS and btrfs are: flushing a file says nothing about its name, and what one
 * descriptor was told no later one hears. Names come in two kinds, see mount.ts: any of them may survive,
 * and flushing `tmp/` alone does not make a rename durable; or they survive in order.
 */
import type { FileSystemSpace, SyncFileSystem } from "../../../src/system/index.ts";
import type { SeededRandom } from "../seeded-random.ts";
import { rootAfterCut } from "./crash.ts";
import { errnoError, Gone } from "./errors.ts";
import { Inode, inodes, snapshot } from "./inode.ts";
import { Mount, type NameOrder } from "./mount.ts";
import { SimProcess } from "./process.ts";

/** One call as it is made: a fault decides by it whether the call fails. */
export interface Operation {
  /** Counts calls from 1. */
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
  /** Calls so far; the number of the next one is one more. */
  operations = 0;
  /** Instants so far at which the power could have been cut. */
  instants = 0;
  /** The instant at which the power is cut. */
  cutAt: number | undefined;
  /** The instant at which the process that then calls is killed. */
  killAt: number | undefined;
  faults: Fault[] = [];
  /** The last calls, for the message of a failing test. */
  readonly trace: string[] = [];
  /** Runs between flushes: a reader at work. */
  onTurn: (() => void) | undefined;
  clockMs = Date.UTC(2026, 0, 1);
  /** Who holds which lock; a dead process holds none. */
  readonly locks = new Map<string, SimProcess>();
  /**
   * Whether a failed flush of a directory loses its changes, where names keep no order; else they stay
   * to be flushed again. A journalling file system that cannot write its journal stops altogether.
   */
  directoriesForget = true;
  /** What statfs answers. */
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

  /** Starts a process: its `fileSystem` is what it sees of the disk until it is killed. */
  start(): SimProcess {
    return new SimProcess(this);
  }

  cut(): void {
    this.#isOff = true;
    const flushes = this.#flushes.splice(0);
    for (const flush of flushes) flush.abandon(new Gone("the power is cut"));
  }

  /** The disk as it is found when the power is back. The same cut can be survived in many ways. */
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

  /** Puts another directory in the place of one, as mounting a file system does, or unmounting. */
  mountAt(path: string, directory: Inode): void {
    const slash = path.lastIndexOf("/");
    this.#place(this.inodeAt(path.slice(0, slash))!, path.slice(slash + 1), directory);
  }

  #place(parent: Inode, name: string, inode: Inode): void {
    parent.names.set(name, inode);
    parent.durableNames.set(name, inode);
  }

  /** What stands under a path now, as programs see it. */
  inodeAt(path: string): Inode | undefined {
    let inode: Inode | undefined = this.root;
    for (const name of path.split("/").filter(Boolean)) inode = inode?.names.get(name);
    return inode;
  }

  /**
   * Opens a flush of the file system a directory lies on, as a helper that holds its descriptor from now
   * on; without a directory it is that of the root.
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

  /** The kernel writes a dirty file back by itself, and fails. Answers whether there was one. */
  failWriteBack(errno = "EIO"): boolean {
    const dirty = [...inodes(this.root)].filter(({ isDirty }) => isDirty);
    const inode = dirty[this.random.below(dirty.length)];
    if (inode) this.failInode(inode, errno);
    return inode !== undefined;
  }

  /** Forgets what is cached and will never reach the disk: reads show what the disk has. */
  dropCaches(): void {
    for (const inode of inodes(this.root)) if (inode.forsaken) inode.bytes = inode.durableBytes;
  }

  /** A flush of one file or directory fails, and whoever flushes the file system will hear of it. */
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

  /** Notes a call and one instant; answers the errno it shall fail with, if any. */
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

  /** Lets a flush take its time; flushes under way finish in any order. */
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

  /** A killed process waits for nothing, but the kernel finishes some of what it was asked for. */
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

  /** How many names a file has. */
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
