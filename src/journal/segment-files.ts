/**
 * The files of a log: made full of zeros under a temporary name, flushed, renamed, and their directory
 * flushed, all before the first record is written into one.
 *
 * Because the blocks are there already, a record costs no metadata, and its write one flush.
 */
import { dirname, join, resolve } from "node:path";
import type { Clock, Descriptor, FileSystem } from "../system/index.ts";

export interface SegmentFile {
  readonly name: string;
  /** Open for synchronous writing. */
  readonly file: Descriptor;
}

/** The file that holds the lock of a journal. */
export const lockName = "lock";

const namePattern = /^segment-(\d{8,})$/;
const temporaryPattern = /^segment-\d{8,}\.new$/;

/** Whether a file of this name is a segment. */
export function isSegmentName(name: string): boolean {
  return namePattern.test(name);
}

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

  /** Names of the segments there are, in the order they were made. */
  names(): string[] {
    const numbers = this.#fileSystem
      .list(this.directory)
      .map((name) => Number(namePattern.exec(name)?.[1] ?? Number.NaN))
      .filter((number) => !Number.isNaN(number))
      .sort((a, b) => a - b);
    this.#number = Math.max(this.#number, numbers.at(-1) ?? 0);
    return numbers.map(nameOf);
  }

  /** Removes what a process left behind that was killed while it made a segment. */
  sweep(): void {
    const left = this.#fileSystem
      .list(this.directory)
      .filter((name) => temporaryPattern.test(name));
    for (const name of left) this.#fileSystem.unlink(join(this.directory, name));
  }

  /** Makes a segment that survives a power cut, and opens it. @throws the errno error of the step */
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
          await this.#turn();
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

  /** Reads a whole segment; what was read before is overwritten. @throws the errno error */
  read(name: string): Buffer<ArrayBuffer> {
    const { size } = this.#fileSystem.status(join(this.directory, name));
    if (this.#scratch.length < size) this.#scratch = Buffer.allocUnsafeSlow(size);
    return this.#readInto(this.#scratch.subarray(0, size), name, 0);
  }

  /** Reads so many octets at a position, fewer where the segment ends. @throws the errno error */
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

  /** Gives back the memory that reading took. */
  forget(): void {
    this.#scratch = Buffer.alloc(0);
  }

  /** Closes and deletes a segment that nothing needs; one that stays is found free by the next start. */
  remove({ name, file }: { readonly name: string; readonly file?: Descriptor | undefined }): void {
    if (file !== undefined) this.close(file);
    attempt(() => this.#fileSystem.unlink(join(this.directory, name)));
  }

  close(file: Descriptor): void {
    attempt(() => this.#fileSystem.close(file));
  }

  /** Lets others run: filling a segment is quick for the machine, but not for who waits for an answer. */
  #turn(): Promise<void> {
    return new Promise((done) => this.#clock.setImmediate(done));
  }
}

/**
 * Makes a directory with every parent that is missing, and flushes the name of each.
 *
 * Parents that were there are flushed too: a process killed between making one and flushing it leaves
 * a name that looks as if it were on the disk. Those that may not be opened were not made by us.
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
    // From the top down, so that nothing is made under a parent that cannot be.
    await makeDirectoryDurably(fileSystem, parent);
    fileSystem.makeDirectory(path, 0o700);
    await syncDirectory(fileSystem, parent);
    return;
  }
  try {
    await syncDirectory(fileSystem, parent);
  } catch (error) {
    if (!mayNotBeSynced.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
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
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function nameOf(number: number): string {
  return `segment-${String(number).padStart(8, "0")}`;
}

/** Does what may fail without changing the outcome. */
function attempt(action: () => void): void {
  try {
    action();
  } catch {}
}
