/**
 * The files of a log. A segment is filled with zeros under a temporary name, synced, renamed, and
 * its directory synced, all before the first record is written into it.
 *
 * The blocks exist already, so the write of a record changes no metadata and costs one flush.
 */
import { dirname, join, resolve } from "node:path";
import { type Clock, type Descriptor, errnoOf, type FileSystem } from "../system/index.ts";

export interface SegmentFile {
  readonly name: string;
  /** Open for synchronous writing. */
  readonly file: Descriptor;
}

/** The file of the lock of a journal. */
export const lockName = "lock";

/** Whether a name in the directory of a journal is that of a segment. */
export function isSegmentName(name: string): boolean {
  return namePattern.test(name);
}

const namePattern = /^segment-(\d{8,})$/;
const temporaryPattern = /^segment-\d{8,}\.new$/;
const zeros = new Uint8Array(256 * 1024);

export class SegmentFiles {
  readonly directory: string;
  readonly #fileSystem: FileSystem;
  readonly #clock: Clock;
  readonly #segmentBytes: number;
  #number = 0;
  #scratch = Buffer.alloc(0);

  constructor(directory: string, segmentBytes: number, fileSystem: FileSystem, clock: Clock) {
    this.directory = directory;
    this.#segmentBytes = segmentBytes;
    this.#fileSystem = fileSystem;
    this.#clock = clock;
  }

  /** Names of the segments that exist, in the order in which they were made. */
  names(): string[] {
    const numbers = this.#fileSystem
      .list(this.directory)
      .map((name) => Number(namePattern.exec(name)?.[1] ?? Number.NaN))
      .filter((number) => !Number.isNaN(number))
      .sort((a, b) => a - b);
    this.#number = Math.max(this.#number, numbers.at(-1) ?? 0);
    return numbers.map(nameOf);
  }

  /** Removes temporary files of a process that was killed while it made a segment. */
  sweep(): void {
    const names = this.#fileSystem
      .list(this.directory)
      .filter((name) => temporaryPattern.test(name));
    for (const name of names) this.#fileSystem.unlink(join(this.directory, name));
  }

  /**
   * Makes a segment that survives a power cut, and opens it. @throws the errno error of the step
   */
  async make(): Promise<SegmentFile> {
    const fileSystem = this.#fileSystem;
    this.#number += 1;
    const name = nameOf(this.#number);
    const path = join(this.directory, name);
    let made = `${path}.new`;
    const filling = fileSystem.createExclusive(made, 0o600);
    try {
      try {
        for (let left = this.#segmentBytes; left > 0; left -= zeros.length) {
          fileSystem.write(filling, zeros.subarray(0, left));
          await this.#yield();
        }
        await fileSystem.sync(filling);
      } finally {
        fileSystem.close(filling);
      }
      fileSystem.rename(made, path);
      made = path;
      await syncDirectory(fileSystem, this.directory);
      return { name, file: fileSystem.openForLog(path) };
    } catch (error) {
      attempt(() => fileSystem.unlink(made));
      throw error;
    }
  }

  /** Reads a whole segment into the buffer of the one read before. @throws the errno error */
  read(name: string): Buffer<ArrayBuffer> {
    const { size } = this.#fileSystem.status(join(this.directory, name));
    if (this.#scratch.length < size) this.#scratch = Buffer.allocUnsafeSlow(size);
    return this.#readInto(this.#scratch.subarray(0, size), name, 0);
  }

  /** Reads `length` bytes at a position, fewer where the segment ends. @throws the errno error */
  readPart(name: string, position: number, length: number): Buffer<ArrayBuffer> {
    return this.#readInto(Buffer.allocUnsafeSlow(length), name, position);
  }

  #readInto(bytes: Buffer<ArrayBuffer>, name: string, position: number): Buffer<ArrayBuffer> {
    const file = this.#fileSystem.openForReading(join(this.directory, name));
    try {
      let filled = 0;
      for (let count = -1; count !== 0 && filled < bytes.length; filled += count) {
        count = this.#fileSystem.readAt(file, bytes.subarray(filled), position + filled);
      }
      return bytes.subarray(0, filled);
    } finally {
      this.#fileSystem.close(file);
    }
  }

  /** Frees the memory that reading took. */
  forget(): void {
    this.#scratch = Buffer.alloc(0);
  }

  /**
   * Closes and deletes a segment that is not needed; if that fails, the next start finds it free.
   */
  remove({ name, file }: { readonly name: string; readonly file?: Descriptor | undefined }): void {
    if (file !== undefined) this.close(file);
    attempt(() => this.#fileSystem.unlink(join(this.directory, name)));
  }

  close(file: Descriptor): void {
    attempt(() => this.#fileSystem.close(file));
  }

  /** Yields to the event loop: a whole segment at once would delay every reply. */
  #yield(): Promise<void> {
    return new Promise((done) => this.#clock.setImmediate(done));
  }
}

/**
 * Makes a directory with every missing parent, and syncs the name of each.
 *
 * Existing parents are synced too: a process killed between making and syncing one leaves a name
 * that looks durable and is not. A parent that may not be opened was not made by this process.
 */
export async function makeDirectoryDurably(
  fileSystem: FileSystem,
  directory: string,
): Promise<void> {
  const path = resolve(directory);
  const parent = dirname(path);
  if (parent === path) return;
  const isThere = kindOf(fileSystem, path) !== undefined;
  if (!isThere) {
    // From the top down, so that no directory is made if a parent cannot be.
    await makeDirectoryDurably(fileSystem, parent);
    fileSystem.makeDirectory(path, 0o700);
    await syncDirectory(fileSystem, parent);
    return;
  }
  try {
    await syncDirectory(fileSystem, parent);
  } catch (error) {
    if (!mayNotBeSynced.has(errnoOf(error) ?? "")) throw error;
  }
  await makeDirectoryDurably(fileSystem, parent);
}

const mayNotBeSynced = new Set([
  "EACCES",
  "EPERM",
  "EINVAL",
  "ENOTSUP",
  "EROFS",
  "ELOOP",
  "ENOTDIR",
]);

async function syncDirectory(fileSystem: FileSystem, directory: string): Promise<void> {
  const opened = fileSystem.openDirectory(directory);
  try {
    await fileSystem.sync(opened);
  } finally {
    attempt(() => fileSystem.close(opened));
  }
}

function kindOf(fileSystem: FileSystem, path: string): string | undefined {
  try {
    return fileSystem.status(path).kind;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function nameOf(number: number): string {
  return `segment-${String(number).padStart(8, "0")}`;
}

/** Does something whose failure does not matter. */
function attempt(action: () => void): void {
  try {
    action();
  } catch {}
}
