/**
 * The staging directory of one volume (file system of mailboxes): publisher.ts has messages written
 * into it and made durable before any reader can see them.
 *
 * No file is flushed twice: after a failed flush the kernel shows bytes that the disk lacks, and
 * the next flush of the file succeeds. So after a failure every message is written once more, to a
 * new file that is flushed on a descriptor held since the file was made. A flush of the whole file
 * system counts only when its descriptor is older than the files (system/sync/file-system-sync.ts).
 */
import { syncPlan, writeBody } from "../../maildir/index.ts";
import {
  type Clock,
  type Descriptor,
  errnoOf,
  type FileSystem,
  type FileSystemSync,
  ReopenedSync,
} from "../../system/index.ts";
import type { StoredRecord } from "../volumes/records.ts";
import { stagingNames } from "../volumes/staging-directories.ts";
import { createNew, type FileWorker, inSlices } from "./file-worker.ts";
import type { Publication } from "./publication.ts";

export interface StagingTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly fileWorker: FileWorker;
  /** Opens a flush of the whole file system of a directory; `undefined` where it has none. */
  readonly openFileSystemSync: (directory: string) => Promise<FileSystemSync | undefined>;
}

/** Files in a staging directory that belong to no message; `sweep` leaves them. */
const ownNames: readonly string[] = [stagingNames.identity, stagingNames.lock];

export class Staging {
  readonly path: string;
  readonly #tools: StagingTools;
  readonly #sync: ReopenedSync;

  constructor(path: string, tools: StagingTools) {
    this.path = path;
    this.#tools = tools;
    this.#sync = new ReopenedSync(() => tools.openFileSystemSync(path));
  }

  /**
   * Writes messages into staging and makes data and names durable; on return each is `"staged"`. A
   * failure leads to a second try, with new files.
   *
   * @throws the errno error of the second try, when both failed. A later call may still succeed.
   */
  async stage(publications: readonly Publication[]): Promise<void> {
    if (publications.length === 0) return;
    const sync = await this.takeSync();
    try {
      if (sync && syncPlan("data", publications.length) === "bulk") {
        await this.#stageInBulk(publications, sync);
      } else await this.#stageEach(publications);
    } catch {
      // It is unknown which data the disk lacks, and no flush can repair it: write all files anew.
      await this.#stageEach(publications);
    }
    for (const publication of publications) publication.state = "staged";
  }

  /** Takes a flush of the whole file system, if it has one; it covers files made from now on. */
  takeSync(): Promise<FileSystemSync | undefined> {
    return this.#sync.take();
  }

  /** Makes renames out of this directory durable: else a cut on btrfs may leave both names. */
  async syncNames(): Promise<void> {
    const directory = this.#tools.fileSystem.openDirectory(this.path);
    try {
      await this.#tools.fileSystem.sync(directory);
    } finally {
      this.#tools.fileSystem.close(directory);
    }
  }

  pathOf(name: string): string {
    return `${this.path}/${name}`;
  }

  /** Removes a file from staging if it exists. */
  remove(name: string): void {
    try {
      this.#tools.fileSystem.unlink(this.pathOf(name));
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }

  /**
   * Removes files that a crash left in staging and that the log does not mention. A damaged log may
   * have mentioned such files: then they are moved to `aside/` in the staging directory.
   *
   * @param referenced Names of files that messages of the log need.
   * @param isSound Whether the log was read without damage.
   * @returns How many files were removed or moved.
   */
  sweep(referenced: ReadonlySet<string>, isSound: boolean): number {
    const { fileSystem } = this.#tools;
    const strays = fileSystem.list(this.path).filter((name) => {
      if (ownNames.includes(name) || referenced.has(name)) return false;
      return fileSystem.status(this.pathOf(name)).kind === "file";
    });
    if (strays.length > 0 && !isSound) makeDirectory(this.pathOf(stagingNames.aside), fileSystem);
    for (const name of strays) {
      if (isSound) this.remove(name);
      else fileSystem.rename(this.pathOf(name), this.pathOf(`${stagingNames.aside}/${name}`));
    }
    return strays.length;
  }

  /** Closes the flush of the file system; messages stay where they are. */
  close(): Promise<void> {
    return this.#sync.close();
  }

  async #stageInBulk(publications: readonly Publication[], sync: FileSystemSync): Promise<void> {
    const { fileSystem, fileWorker } = this.#tools;
    const { small = [], large = [] } = Object.groupBy(publications, ({ record }) =>
      record.large ? "large" : "small",
    );
    await fileWorker.write(
      small.map(({ record: { id, head, receivedMs } }) => ({
        path: this.pathOf(id),
        bytes: head,
        modifiedMs: receivedMs,
      })),
    );
    for (const { record } of large) fileSystem.close(this.#write(record));
    await sync.sync();
  }

  async #stageEach(publications: readonly Publication[]): Promise<void> {
    const { fileSystem, clock } = this.#tools;
    const directory = fileSystem.openDirectory(this.path);
    try {
      await inSlices(publications, clock, (slice) => this.#stageSlice(slice));
      await fileSystem.sync(directory);
    } finally {
      fileSystem.close(directory);
    }
  }

  async #stageSlice(publications: readonly Publication[]): Promise<void> {
    const { fileSystem } = this.#tools;
    const written: { readonly record: StoredRecord; readonly file: Descriptor }[] = [];
    try {
      for (const { record } of publications) written.push({ record, file: this.#write(record) });
      const flushes = written.map(({ record, file }) => {
        // fdatasync(2) may leave out the modification time, which matters only where we set it.
        return record.receivedMs === undefined ? fileSystem.syncData(file) : fileSystem.sync(file);
      });
      for (const outcome of await Promise.allSettled(flushes)) {
        if (outcome.status === "rejected") throw outcome.reason;
      }
    } finally {
      for (const { file } of written) fileSystem.close(file);
    }
  }

  /** Writes one message to a new file, which stays open. */
  #write({ id, head, large, receivedMs }: StoredRecord): Descriptor {
    const { fileSystem } = this.#tools;
    const file = createNew(this.pathOf(id), fileSystem);
    try {
      const size = head.length + (large?.size ?? 0);
      writeBody(large ? { head, file: this.pathOf(large.name), size } : head, file, fileSystem);
      if (receivedMs !== undefined) fileSystem.setModified(file, receivedMs);
      return file;
    } catch (error) {
      fileSystem.close(file);
      this.remove(id);
      throw error;
    }
  }
}

function makeDirectory(path: string, fileSystem: FileSystem): void {
  try {
    fileSystem.makeDirectory(path, 0o700);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}
