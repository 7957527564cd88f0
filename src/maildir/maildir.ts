/**
 * One mailbox in Maildir format, for programs that deliver into it, read it, or both.
 *
 * Bytes are stored as given and never changed afterwards; only names change. Several processes
 * may use the same mailbox at once, without locks. Files of a reader, such as Dovecot's indexes,
 * are not touched; folders and quota are the business of other programs.
 *
 * Source: cr.yp.to/proto/maildir.html; what survives a power cut: docs/explanation/durability.md.
 */
import { join, resolve } from "node:path";
import {
  type Clock,
  errnoOf,
  type FileStatus,
  type FileSystem,
  nodeFileSystem,
  type SyncFileSystem,
  systemClock,
} from "../system/index.ts";
import type { Body } from "./body.ts";
import { deliverAll } from "./deliver.ts";
import { ensureMailboxes } from "./ensure-mailboxes.ts";
import { MaildirError, refusal } from "./errors.ts";
import { areFlags, parseFlags, serializeFlags } from "./flags.ts";
import { type Entry, listEntries, withMessage } from "./lookup.ts";
import { createKnownMailboxes, type KnownMailboxes } from "./mailbox.ts";
import { createNameSource, joinName, type MessageId, type NameSource } from "./name.ts";
import { openDirectories } from "./open-directories.ts";
import type { DeliverTools, DeliveryResult, SyncPlan } from "./tools.ts";

export interface MaildirOptions {
  /** The mail root; below it no symbolic link is followed, and up to it directories are flushed. */
  readonly root?: string | undefined;
  /** @defaultValue the machine's own */
  readonly fileSystem?: FileSystem;
  /** @defaultValue the machine's own */
  readonly clock?: Clock;
  /** @defaultValue one source shared by all Maildirs of the process */
  readonly names?: NameSource;
  /** @defaultValue one set shared by all Maildirs of the process */
  readonly known?: KnownMailboxes;
  /** See {@link DeliverTools}. @defaultValue none */
  readonly syncFileSystem?: SyncFileSystem | undefined;
  /** See {@link DeliverTools}. @defaultValue always `"bulk"` */
  readonly syncPlan?: SyncPlan | undefined;
}

export interface DeliverOptions {
  /** Letters such as `"S"`; with any, the message goes to `cur/`. @defaultValue none */
  readonly flags?: string | undefined;
  /** Becomes the file's modification time. @defaultValue now */
  readonly receivedAt?: Date | undefined;
}

const processNames = createNameSource({ clock: systemClock });
const processKnown = createKnownMailboxes();
const unusedForMs = 36 * 60 * 60 * 1000;

export class Maildir {
  readonly path: string;
  readonly #tools: DeliverTools;

  private constructor(path: string, tools: DeliverTools) {
    this.path = resolve(path);
    this.#tools = tools;
  }

  /**
   * Makes a mailbox with `new/`, `cur/` and `tmp/` (0700), or completes one, durably.
   *
   * @throws MaildirError `ERR_MAILDIR_NOT_A_MAILDIR` if a file has the name of a directory,
   *   `_SYMLINK`, `_DIRECTORY_FAILED`, `_SYNC_FAILED`
   */
  static async create(path: string, options: MaildirOptions = {}): Promise<Maildir> {
    const tools = toolsOf(options);
    const mailbox = (await ensureMailboxes([path], tools)).get(path);
    if (mailbox instanceof MaildirError) throw mailbox;
    return new Maildir(path, tools);
  }

  /**
   * Opens a mailbox that exists.
   *
   * @throws MaildirError `ERR_MAILDIR_NOT_A_MAILDIR` if `new/`, `cur/` or `tmp/` is missing
   */
  static async open(path: string, options: MaildirOptions = {}): Promise<Maildir> {
    const tools = toolsOf(options);
    const maildir = new Maildir(path, tools);
    for (const name of ["new", "cur", "tmp"]) maildir.#checkHas(name);
    return maildir;
  }

  /**
   * Stores one message. On return it is visible and survives a power cut.
   *
   * @throws MaildirError, with the original error as `cause`; then the message is not visible,
   *   unless `mayRemain` is set
   */
  async deliver(body: Body, options: DeliverOptions = {}): Promise<MessageId> {
    const [result] = await this.deliverBatch([body], options);
    if (!result?.ok) throw result?.error;
    return result.id;
  }

  /**
   * Stores messages as one batch, at the price of about one disk flush. One result for each, in
   * order; those that are `ok` are visible and survive a power cut. Never rejects for an error of
   * the disk.
   */
  async deliverBatch(
    bodies: readonly Body[],
    options: DeliverOptions = {},
  ): Promise<readonly DeliveryResult[]> {
    const deliveries = bodies.map((body) => ({ ...options, maildir: this.path, body }));
    return deliverAll(deliveries, this.#tools);
  }

  /**
   * Lists the messages in `new/` or `cur/`, in no order; hidden files are left out.
   *
   * @throws MaildirError `ERR_MAILDIR_ACCESS_FAILED`, `_INVALID_ARGUMENT`
   */
  async scan(subdirectory: "new" | "cur"): Promise<readonly Entry[]> {
    if (subdirectory !== "new" && subdirectory !== "cur") {
      throw refusal("subdirectory", '"new" or "cur"', subdirectory);
    }
    try {
      return listEntries(this.#places(), subdirectory, this.#tools.fileSystem);
    } catch (cause) {
      throw this.#accessError(`${subdirectory}/ of ${this.path} cannot be listed`, cause);
    }
  }

  /**
   * Reads a whole message, also after a reader has moved it.
   *
   * @throws MaildirError `ERR_MAILDIR_NOT_FOUND`, `_ACCESS_FAILED`, `_INVALID_ARGUMENT`
   */
  async fetch(id: MessageId): Promise<Uint8Array> {
    const { fileSystem } = this.#tools;
    return withMessage(id, this.#places(), fileSystem, ({ path }) => readWhole(path, fileSystem));
  }

  /**
   * Sets a message's flags and moves it to `cur/`. Its standard letters (six: D, F, P, R, S, T)
   * become exactly those given; keywords, and text behind a comma, stay. Survives a power cut on
   * return.
   *
   * @throws MaildirError `ERR_MAILDIR_NOT_FOUND`, `_ACCESS_FAILED`, `_INVALID_ARGUMENT`
   */
  async mark(id: MessageId, flags: string): Promise<void> {
    if (!areFlags(flags)) {
      throw refusal("flags", "letters", flags);
    }
    const { cur } = this.#places();
    await this.#renamed(id, (entry) => {
      const target = join(cur, joinName(id, withStandardFlags(entry.flags, flags)));
      this.#tools.fileSystem.rename(entry.path, target);
    });
  }

  /**
   * Removes a message for good.
   *
   * @throws MaildirError `ERR_MAILDIR_NOT_FOUND`, `_ACCESS_FAILED`, `_INVALID_ARGUMENT`
   */
  async remove(id: MessageId): Promise<void> {
    await this.#renamed(id, (entry) => this.#tools.fileSystem.unlink(entry.path));
  }

  /**
   * Removes files in `tmp/` that crashed deliveries left behind, and returns how many.
   *
   * Their age counts from the last change of any kind, because a modification time may be a
   * received date of long ago. Files with names from this process are never removed.
   *
   * @param maxAgeMs - The age from which on a file is removed. @defaultValue 36 hours, the age of
   *   the Maildir specification
   */
  async cleanTmp(maxAgeMs: number = unusedForMs): Promise<number> {
    if (!Number.isFinite(maxAgeMs) || maxAgeMs < 0) {
      throw refusal("maxAgeMs", "a number of milliseconds from 0 up", maxAgeMs);
    }
    const { fileSystem, clock } = this.#tools;
    const tmp = join(this.path, "tmp");
    try {
      const old = fileSystem.list(tmp).filter((name) => {
        if (name.startsWith(".") || this.#tools.names.isOwn(name)) return false;
        const status = statusUnlessGone(join(tmp, name), fileSystem);
        return status?.kind === "file" && clock.wallTimeMs() - status.changedMs >= maxAgeMs;
      });
      return old.filter((name) => removed(join(tmp, name), fileSystem)).length;
    } catch (cause) {
      throw this.#accessError(`tmp/ of ${this.path} cannot be cleaned`, cause);
    }
  }

  #checkHas(name: string): void {
    const directory = join(this.path, name);
    let kind: FileStatus["kind"] | undefined;
    try {
      kind = statusUnlessGone(directory, this.#tools.fileSystem)?.kind;
    } catch (cause) {
      throw this.#accessError(`the status of ${directory} cannot be read`, cause);
    }
    if (kind === "directory") return;
    throw new MaildirError(
      "ERR_MAILDIR_NOT_A_MAILDIR",
      `${this.path} is not a Maildir: ${name}/ is ${kind === undefined ? "missing" : `a ${kind}`}`,
      { path: this.path },
    );
  }

  /** Changes a message's name, and flushes both directories that may hold it. */
  async #renamed(id: MessageId, change: (entry: Entry) => void): Promise<void> {
    const places = this.#places();
    const directories = openDirectories(this.#tools.fileSystem);
    try {
      directories.open(places.cur);
      directories.open(places.new);
      withMessage(id, places, this.#tools.fileSystem, change);
      await directories.syncAll([places.cur]);
      await directories.syncAll([places.new]);
    } catch (cause) {
      if (cause instanceof MaildirError) throw cause;
      throw this.#accessError(`the change of message ${id} may not be durable`, cause);
    } finally {
      directories.close();
    }
  }

  #places() {
    return { path: this.path, new: join(this.path, "new"), cur: join(this.path, "cur") };
  }

  #accessError(message: string, cause: unknown): MaildirError {
    return new MaildirError("ERR_MAILDIR_ACCESS_FAILED", message, { path: this.path, cause });
  }
}

function toolsOf(options: MaildirOptions): DeliverTools {
  return {
    fileSystem: nodeFileSystem,
    clock: systemClock,
    names: processNames,
    known: processKnown,
    ...options,
  };
}

function statusUnlessGone(path: string, fileSystem: FileSystem): FileStatus | undefined {
  try {
    return fileSystem.status(path);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  }
}

/** Removes a file; returns false if another program has removed it. */
function removed(path: string, fileSystem: FileSystem): boolean {
  try {
    fileSystem.unlink(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

function readWhole(path: string, fileSystem: FileSystem): Uint8Array {
  const file = fileSystem.openForReading(path);
  try {
    const bytes = new Uint8Array(fileSystem.status(path).size);
    let filled = 0;
    while (filled < bytes.length) {
      const length = fileSystem.read(file, bytes.subarray(filled));
      if (length === 0) break;
      filled += length;
    }
    return bytes.subarray(0, filled);
  } finally {
    fileSystem.close(file);
  }
}

/** Replaces the standard letters of a flag text; everything else stays. */
function withStandardFlags(text: string, flags: string): string {
  const given = parseFlags(text);
  const others = given.letters.filter((letter) => !"DFPRST".includes(letter));
  return serializeFlags({ ...given, letters: parseFlags([...others, flags].join("")).letters });
}
