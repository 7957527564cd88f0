/**
 * What the simulated disk knows of one file or directory: what programs see, what a power cut leaves.
 *
 * The two differ by what has not been flushed. After a failed flush they stay apart for good: reads go
 * on showing the new bytes, later flushes succeed, and nothing of it reaches the disk.
 */
import type { SeededRandom } from "../seeded-random.ts";
import type { Mount } from "./mount.ts";

/** The smallest piece of a write that survives a cut or does not. */
export const sectorBytes = 512;

/** One change to a directory that has not been flushed yet. */
export interface NameChange {
  readonly kind: "add" | "remove";
  readonly directory: Inode;
  readonly name: string;
  readonly inode: Inode;
  /** For the removal half of a rename: its other half, without which it must not become durable. */
  readonly pair?: NameChange;
  /** Counts what was done to names on the file system; both halves of a rename are one step. */
  readonly step: number;
  /** The durable directory shows it. */
  done: boolean;
  /** A failed flush dropped it: it never becomes durable. */
  lost: boolean;
}

export class Inode {
  readonly number: number;
  readonly kind: "file" | "directory";
  mode: number;
  /** The file system it lies on. */
  readonly mount: Mount;
  /** Files of one tree only may be renamed into each other's directories: a project quota of XFS. */
  tree = 0;
  /** Counts failed flushes and write-backs; a descriptor reports those since it was opened, once. */
  failures = 0;
  lastErrno = "EIO";

  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  durableBytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  modifiedMs = 0;
  durableModifiedMs = 0;
  changedMs = 0;
  /** Set by a failed flush: what `bytes` has and `durableBytes` lacks is lost. */
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

  /** A file with bytes that the disk lacks, and could still get. */
  get isDirty(): boolean {
    if (this.kind !== "file" || this.forsaken || this.bytes === this.durableBytes) return false;
    return Buffer.compare(this.bytes, this.durableBytes) !== 0;
  }

  /** Makes the bytes as they were when the flush began durable. */
  flushBytes(bytes: Uint8Array<ArrayBuffer>): void {
    if (!this.forsaken) this.durableBytes = bytes;
  }

  /** Puts these bytes into the file as programs see it. */
  overwrite(bytes: Uint8Array, position: number): void {
    this.bytes = overwritten(this.bytes, bytes, position);
  }

  /** Makes one synchronous write durable, and nothing else that the file still waits for. */
  flushRange(bytes: Uint8Array, position: number): void {
    if (this.forsaken) return;
    this.durableBytes = overwritten(this.durableBytes, bytes, position);
    if (Buffer.compare(this.durableBytes, this.bytes) === 0) this.durableBytes = this.bytes;
  }

  /** A flush or a write-back fails: something may have been written, the rest is lost. */
  fail(errno: string, random: SeededRandom, directoriesForget = true): void {
    this.failures += 1;
    this.lastErrno = errno;
    if (this.kind === "file") {
      this.durableBytes = tornBytes(this.durableBytes, this.bytes, random);
      this.forsaken = true;
      return;
    }
    if (!directoriesForget) return;
    // Directories inside directories stay pending: a file system that loses one has stopped altogether.
    this.mount.lose(this.changes.filter(({ inode }) => inode.kind === "file"));
  }
}

/** What a cut can leave of a file whose last flush knew `old` and whose cache holds `fresh`. */
export function tornBytes(
  old: Uint8Array<ArrayBuffer>,
  fresh: Uint8Array<ArrayBuffer>,
  random: SeededRandom,
): Uint8Array<ArrayBuffer> {
  if (old === fresh) return old;
  const manner = random.below(5);
  if (manner === 0) return old;
  if (manner === 1) return fresh;
  // Delayed allocation: the length is known, or part of it, and any subset of the sectors. What the
  // disk had of the file before does not get shorter by being written over.
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

/** Remembers what a flush beginning now will make durable once it is done. */
export function snapshot(inode: Inode): { readonly inode: Inode; readonly settle: () => void } {
  const { bytes, durableBytes, modifiedMs } = inode;
  const changes = inode.mount.changesOf(inode);
  return {
    inode,
    settle: () => {
      if (inode.kind === "directory") inode.mount.commit(changes);
      else {
        // What a later flush has put on the disk meanwhile is not taken back by an older one.
        if (inode.durableBytes === durableBytes) inode.flushBytes(bytes);
        inode.durableModifiedMs = modifiedMs;
      }
    },
  };
}

/** Every file and directory that can be reached, or has a change under way. */
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
