/**
 * The volumes: file systems that hold mailboxes. Each has one staging directory, from which files
 * are renamed into its mailboxes. admission.ts asks for a mailbox's volume, recovery.ts opens the
 * volumes that the log mentions.
 *
 * The staging directory lies in the mail root, or as high below the root as the mailbox's own file
 * system reaches. A volume serves its mailboxes only while its identity is the one that the log
 * means (identity.ts).
 */
import { randomBytes } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import type { Mailbox } from "../../maildir/index.ts";
import { type Clock, errnoOf, type FileSystem, writeFileDurably } from "../../system/index.ts";
import { DeliveryError } from "../errors.ts";
import { encodeIdentity, identityFileIn, identityIn, recognises } from "./identity.ts";
import { probe } from "./probe.ts";
import { pathOfStored, type StoredVolume, storedPath } from "./records.ts";
import { stagingIn, stagingNames } from "./staging-directories.ts";

export interface Volume {
  /** Names the volume in the log; drawn once and stored in the identity file. */
  readonly id: string;
  /** The directory that holds the staging directory. */
  readonly directory: string;
  /** The path of the staging directory. */
  readonly staging: string;
}

interface VolumeTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly journal: { readonly id: string; readonly starts: bigint };
  readonly root: string | undefined;
}

export class Volumes {
  readonly #tools: VolumeTools;
  readonly #byDirectory = new Map<string, Promise<Volume | undefined>>();
  /** Directories of volumes that the log mentions and that are not recovered yet. */
  readonly #missing = new Set<string>();
  /** Whether a mailbox can be served from staging, by volume and mailbox identity. */
  readonly #probed = new Map<string, boolean>();
  readonly #unlocks = new Map<string, () => void>();

  constructor(tools: VolumeTools) {
    this.#tools = tools;
  }

  /**
   * Opens a volume that the log mentions. Its mailboxes take no mail before {@link admit}.
   *
   * @param starts The highest start counter of the frames that mention the volume.
   * @throws {DeliveryError} ERR_DELIVERY_JOURNAL if the volume found is not the one that is meant.
   */
  async openKnown(stored: StoredVolume, starts: bigint): Promise<Volume> {
    const { journal, fileSystem } = this.#tools;
    const directory = this.directoryOf(stored);
    const expected = { journal: journal.id, volume: stored.id, starts };
    const found = identityIn(this.#stagingOf(directory), fileSystem);
    this.#missing.add(directory);
    if (recognises(found, expected, journal.starts)) return this.#take(directory, stored.id);
    throw new DeliveryError(
      "ERR_DELIVERY_JOURNAL",
      `The volume at ${directory} is not the one the journal holds mail for: it is not mounted, or was restored from a copy.`,
      { path: directory },
    );
  }

  /** The absolute path of a volume's directory. */
  directoryOf({ directory }: StoredVolume): string {
    return pathOfStored(directory, this.#tools.root);
  }

  /** Lets the mailboxes of a recovered volume take mail. */
  admit(volume: Volume): void {
    this.#missing.delete(volume.directory);
    this.#byDirectory.set(volume.directory, Promise.resolve(volume));
  }

  /**
   * The directory of the volume, not recovered yet, that would hold a mailbox; else `undefined`.
   */
  missingFor(mailbox: string): string | undefined {
    const path = resolve(mailbox);
    const above = [...this.#missing, ...this.#byDirectory.keys()].filter((directory) =>
      path.startsWith(directory === "/" ? directory : `${directory}/`),
    );
    const nearest = above.toSorted((a, b) => b.length - a.length)[0];
    return nearest !== undefined && this.#missing.has(nearest) ? nearest : undefined;
  }

  /** The volume whose staging directory serves a mailbox; `undefined` if no directory can. */
  async forMailbox(mailbox: Mailbox): Promise<Volume | undefined> {
    const directory = this.#directoryFor(mailbox);
    if (directory === undefined) return undefined;
    const opening = this.#byDirectory.get(directory) ?? this.#open(directory);
    this.#byDirectory.set(directory, opening);
    const volume = await opening;
    if (volume === undefined) return undefined;
    const key = `${volume.id} ${mailbox.identity}`;
    const serves = this.#probed.get(key) ?? probe(volume.staging, mailbox, this.#tools.fileSystem);
    this.#probed.set(key, serves);
    return serves ? volume : undefined;
  }

  storedVolume({ id, directory }: Volume): StoredVolume {
    return { id, directory: storedPath(directory, this.#tools.root) };
  }

  /** Unlocks the staging directories. */
  close(): void {
    for (const unlock of this.#unlocks.values()) unlock();
    this.#unlocks.clear();
  }

  /** Opens, or creates, the staging directory of a volume that the log does not mention. */
  async #open(directory: string): Promise<Volume | undefined> {
    const staging = this.#stagingOf(directory);
    try {
      this.#makeDirectory(staging);
      const known = identityIn(staging, this.#tools.fileSystem)?.volume;
      return await this.#take(directory, known ?? randomBytes(8).toString("hex"));
    } catch (error) {
      this.#byDirectory.delete(directory);
      // Without the right to write, the mailboxes have no staging; any other error is a failure.
      if (["EACCES", "EPERM"].includes(errnoOf(error) ?? "")) return undefined;
      throw error;
    }
  }

  /** Locks the staging directory and writes this start of the journal into it, durably. */
  async #take(directory: string, id: string): Promise<Volume> {
    const { fileSystem, clock, journal } = this.#tools;
    const staging = this.#stagingOf(directory);
    if (!this.#unlocks.has(staging)) {
      this.#unlocks.set(staging, fileSystem.lock(join(staging, stagingNames.lock)));
    }
    const identity = { journal: journal.id, volume: id, starts: journal.starts };
    const tools = { fileSystem, clock };
    await writeFileDurably(identityFileIn(staging), encodeIdentity(identity), tools);
    const opened = fileSystem.openDirectory(`${directory}/.`);
    try {
      await fileSystem.sync(opened);
    } finally {
      fileSystem.close(opened);
    }
    return { id, directory, staging };
  }

  #stagingOf(directory: string): string {
    return stagingIn(directory, this.#tools.journal.id);
  }

  #makeDirectory(path: string): void {
    try {
      this.#tools.fileSystem.makeDirectory(path, 0o700);
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
  }

  /** The mail root, or the highest directory below it that is on the mailbox's file system. */
  #directoryFor({ path, device }: Mailbox): string | undefined {
    const { fileSystem, root } = this.#tools;
    const isOnIt = (directory: string) => fileSystem.status(`${directory}/.`).device === device;
    if (root === undefined) return isOnIt(dirname(path)) ? dirname(path) : undefined;
    let highest: string | undefined;
    for (let at = dirname(path); isOnIt(at); at = dirname(at)) {
      highest = at;
      if (at === resolve(root) || at === dirname(at)) break;
    }
    return highest;
  }
}
