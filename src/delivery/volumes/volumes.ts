/**
 * The mail file systems: each has one staging directory, from which files are renamed into mailboxes.
 *
 * `.postbag-<journal id>/` lies in the mail root, or as high below it as a mailbox's own file system
 * reaches. Its identity file says which journal it belongs to, which file system this is, and at which
 * start of the journal it was last in use: only with the right identity may a missing file be taken
 * for one that a reader has consumed (zones.ts).
 */
import { randomBytes } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import type { Mailbox } from "../../maildir/index.ts";
import { type Clock, type FileSystem, writeFileDurably } from "../../system/index.ts";
import { DeliveryError, errnoOf } from "../errors.ts";
import { encodeIdentity, identityFileIn, identityIn, recognises } from "./identity.ts";
import { probe } from "./probe.ts";
import { pathOfStored, type StoredVolume, storedPath } from "./records.ts";
import { stagingIn, stagingNames } from "./staging-directories.ts";

export interface Volume {
  /** Names the file system in the log; drawn once and kept in the identity file. */
  readonly id: string;
  /** The directory that holds the staging directory. */
  readonly home: string;
  readonly staging: string;
}

export interface VolumeTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly journal: { readonly id: string; readonly starts: bigint };
  readonly root: string | undefined;
}

export class Volumes {
  readonly #tools: VolumeTools;
  readonly #byHome = new Map<string, Promise<Volume | undefined>>();
  /** Homes the log knows, whose file system was not recognised. */
  readonly #missing = new Set<string>();
  /** Whether a mailbox, by what `probe` looked at, may be served from staging. */
  readonly #probed = new Map<string, boolean>();
  readonly #unlocks = new Map<string, () => void>();

  constructor(tools: VolumeTools) {
    this.#tools = tools;
  }

  /**
   * Opens a file system that the log speaks of.
   *
   * @param starts The highest start counter of a frame that concerns it.
   * Its mailboxes are not available before it has been recognised and {@link admit}ted.
   *
   * @throws {DeliveryError} ERR_DELIVERY_JOURNAL if it was not recognised.
   */
  async openKnown(stored: StoredVolume, starts: bigint): Promise<Volume> {
    const { journal, fileSystem } = this.#tools;
    const home = this.homeOfStored(stored);
    const expected = { journal: journal.id, fileSystem: stored.id, starts };
    const found = identityIn(this.#stagingOf(home), fileSystem);
    this.#missing.add(home);
    if (recognises(found, expected, journal.starts)) return this.#take(home, stored.id);
    throw new DeliveryError(
      "ERR_DELIVERY_JOURNAL",
      `The mail file system at ${home} is not the one the journal holds mail for: it is not mounted, or was restored from a copy.`,
      { path: home },
    );
  }

  homeOfStored({ home }: StoredVolume): string {
    return pathOfStored(home, this.#tools.root);
  }

  /** Lets mailboxes of a recovered file system be served again. */
  admit(volume: Volume): void {
    this.#missing.delete(volume.home);
    this.#byHome.set(volume.home, Promise.resolve(volume));
  }

  get missing(): readonly string[] {
    return [...this.#missing];
  }

  /** The home of the missing file system that a mailbox would lie on, if it does. */
  missingFor(mailbox: string): string | undefined {
    const path = resolve(mailbox);
    const homes = [...this.#missing, ...this.#byHome.keys()].filter((home) =>
      path.startsWith(home === "/" ? home : `${home}/`),
    );
    const nearest = homes.toSorted((a, b) => b.length - a.length)[0];
    return nearest !== undefined && this.#missing.has(nearest) ? nearest : undefined;
  }

  /** The file system from whose staging a mailbox is served; `undefined` if it cannot be. */
  async forMailbox(mailbox: Mailbox): Promise<Volume | undefined> {
    const home = this.#homeOf(mailbox);
    if (home === undefined) return undefined;
    const opening = this.#byHome.get(home) ?? this.#open(home);
    this.#byHome.set(home, opening);
    const volume = await opening;
    if (volume === undefined) return undefined;
    const key = `${volume.id} ${mailbox.identity}`;
    const serves = this.#probed.get(key) ?? probe(volume.staging, mailbox, this.#tools.fileSystem);
    this.#probed.set(key, serves);
    return serves ? volume : undefined;
  }

  storedVolume({ id, home }: Volume): StoredVolume {
    return { id, home: storedPath(home, this.#tools.root) };
  }

  close(): void {
    for (const unlock of this.#unlocks.values()) unlock();
    this.#unlocks.clear();
  }

  /** Opens, or makes, the staging directory of a file system the log says nothing about. */
  async #open(home: string): Promise<Volume | undefined> {
    const staging = this.#stagingOf(home);
    try {
      this.#makeDirectory(staging);
      const known = identityIn(staging, this.#tools.fileSystem)?.fileSystem;
      return await this.#take(home, known ?? randomBytes(8).toString("hex"));
    } catch (error) {
      this.#byHome.delete(home);
      // A place where we may not write is no place for staging; anything else is a fault.
      if (["EACCES", "EPERM"].includes(errnoOf(error) ?? "")) return undefined;
      throw error;
    }
  }

  /** Locks the staging directory and notes this start in it, durably. */
  async #take(home: string, id: string): Promise<Volume> {
    const { fileSystem, clock, journal } = this.#tools;
    const staging = this.#stagingOf(home);
    if (!this.#unlocks.has(staging)) {
      this.#unlocks.set(staging, fileSystem.lock(join(staging, stagingNames.lock)));
    }
    const identity = { journal: journal.id, fileSystem: id, starts: journal.starts };
    const tools = { fileSystem, clock };
    await writeFileDurably(identityFileIn(staging), encodeIdentity(identity), tools);
    const directory = fileSystem.openDirectory(`${home}/.`);
    try {
      await fileSystem.sync(directory);
    } finally {
      fileSystem.close(directory);
    }
    return { id, home, staging };
  }

  #stagingOf(home: string): string {
    return stagingIn(home, this.#tools.journal.id);
  }

  #makeDirectory(path: string): void {
    try {
      this.#tools.fileSystem.makeDirectory(path, 0o700);
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
  }

  /** The mail root, or the highest directory below it that is on the mailbox's file system. */
  #homeOf({ path, device }: Mailbox): string | undefined {
    const { fileSystem, root } = this.#tools;
    const isOnIt = (directory: string) => fileSystem.status(`${directory}/.`).device === device;
    if (root === undefined) return isOnIt(dirname(path)) ? dirname(path) : undefined;
    let home: string | undefined;
    for (let at = dirname(path); isOnIt(at); at = dirname(at)) {
      home = at;
      if (at === resolve(root) || at === dirname(at)) break;
    }
    return home;
  }
}
