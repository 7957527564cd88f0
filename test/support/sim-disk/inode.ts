/**
 * One file or directory of the simulated disk, as programs see it and as a power cut leaves it.
 *
 * The two differ by the unflushed changes. After a failed flush they differ for good: reads go on
 * showing the new bytes, later flushes succeed, and the bytes never reach the disk.
 */
import type { SeededRandom } from "../seeded-random.ts";
import type { Mount } from "./mount.ts";

/** Bytes of the smallest piece of a write that survives a cut as a whole. */
export const sectorBytes = 512;

/** One change to a directory that has not been flushed yet. */
export interface NameChange {
  readonly kind: "add" | "remove";
  readonly directory: Inode;
  readonly name: string;
  readonly inode: Inode;
  /** For the removal half of a rename: its other half, without which it must not become durable. */
  readonly pair?: NameChange;
  /** Number of the change on its file system; both halves of a rename are one step. */
  readonly step: number;
  /** Whether it is durable. */
  done: boolean;
  /** Whether a failed flush dropped it: it never becomes durable. */
  lost: boolean;
}

export class Inode {
  readonly number: number;
  readonly kind: "file" | "directory";
  mode: number;
  /** Its file system. */
  readonly mount: Mount;
  /** Files are renamed only inside one tree, as with a project quota of XFS. */
  tree = 0;
  /**
   * Counts failed flushes and write-backs; a descriptor reports those since it was opened, once.
   */
  failures = 0;
  lastErrno = "EIO";

  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  durableBytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  modifiedMs = 0;
  durableModifiedMs = 0;
  changedMs = 0;
  /** Set by a failed flush: bytes that `durableBytes` lacks are lost. */
  forsaken = false;

  readonly names = new Map<string, Inode>();
  readonly durableNames = new Map<string, Inode>();
  changes: NameChange[] = [];

  constructor(number: number, kind: "file" | "directory", mode: number, mount: Mount) {
    this.number = number;
    this.kind = kind;
    this.mode = mode;
    this.mount = mount;
  }

  /** Whether it is a file with bytes that the disk lacks and can still get. */
  get isDirty(): boolean {
    if (this.kind !== "file" || this.forsaken || this.bytes === this.durableBytes) return false;
    return Buffer.compare(this.bytes, this.durableBytes) !== 0;
  }

  /** Makes bytes durable, as they were when their flush began. */
  flushBytes(bytes: Uint8Array<ArrayBuffer>): void {
    if (!this.forsaken) this.durableBytes = bytes;
  }

  /** Writes bytes into the file, as programs see it. */
  overwrite(bytes: Uint8Array, position: number): void {
    this.bytes = overwritten(this.bytes, bytes, position);
  }

  /** Makes one synchronous write durable, and no other write. */
  flushRange(bytes: Uint8Array, position: number): void {
    if (this.forsaken) return;
    this.durableBytes = overwritten(this.durableBytes, bytes, position);
    if (Buffer.compare(this.durableBytes, this.bytes) === 0) this.durableBytes = this.bytes;
  }

  /** Fails a flush or a write-back: some bytes may have been written, the rest is lost. */
  fail(errno: string, random: SeededRandom, directoriesForget = true): void {
    this.failures += 1;
    this.lastErrno = errno;
    if (this.kind === "file") {
      this.durableBytes = tornBytes(this.durableBytes, this.bytes, random);
      this.forsaken = true;
      return;
    }
    if (!directoriesForget) return;
    // Directories in directories stay pending: a file system that loses one stops altogether.
    this.mount.lose(this.changes.filter(({ inode }) => inode.kind === "file"));
  }
}

/**
 * One of the contents that a cut can leave of a file with `old` on the disk and `fresh` in the
 * cache.
 */
export function tornBytes(
  old: Uint8Array<ArrayBuffer>,
  fresh: Uint8Array<ArrayBuffer>,
  random: SeededRandom,
): Uint8Array<ArrayBuffer> {
  if (old === fresh) return old;
  const manner = random.below(5);
  if (manner === 0) return old;
  if (manner === 1) return fresh;
  // Delayed allocation: all or part of the length is on the disk, and any subset of the sectors. An
  // overwrite does not make the file shorter.
  const sectors = Math.ceil(fresh.length / sectorBytes);
  const part = Math.max(old.length, random.below(sectors + 1) * sectorBytes);
  const size = manner === 2 ? Math.min(fresh.length, part) : fresh.length;
  const torn = new Uint8Array(size);
  torn.set(old.subarray(0, size));
  for (let at = 0; at < size; at += sectorBytes) {
    const written = manner === 4 ? false : random.below(2) === 0;
    if (written) torn.set(fresh.subarray(at, Math.min(at + sectorBytes, size)), at);
  }
  return torn;
}

/** Takes the changes that a flush beginning now makes durable when it ends. */
export function snapshot(inode: Inode): { readonly inode: Inode; readonly settle: () => void } {
  const { bytes, durableBytes, modifiedMs } = inode;
  const changes = inode.mount.changesOf(inode);
  return {
    inode,
    settle: () => {
      if (inode.kind === "directory") inode.mount.commit(changes);
      else {
        // An older flush does not undo a later one that ended before it.
        if (inode.durableBytes === durableBytes) inode.flushBytes(bytes);
        inode.durableModifiedMs = modifiedMs;
      }
    },
  };
}

/** Every file and directory that can be reached, or has a pending change. */
export function* inodes(from: Inode, seen = new Set<Inode>()): Generator<Inode> {
  if (seen.has(from)) return;
  seen.add(from);
  yield from;
  for (const child of from.names.values()) yield* inodes(child, seen);
  for (const { inode } of from.changes) yield* inodes(inode, seen);
}

function overwritten(
  old: Uint8Array,
  bytes: Uint8Array,
  position: number,
): Uint8Array<ArrayBuffer> {
  const fresh = new Uint8Array(Math.max(old.length, position + bytes.length));
  fresh.set(old);
  fresh.set(bytes, position);
  return fresh;
}
