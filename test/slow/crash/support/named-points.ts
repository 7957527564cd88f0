/**
 * Names the action of delivery through the journal at a call of the file system, such as `append`,
 * `publish`, `write DURABLE` (docs/explanation/journal.md). A moment (before, during, after) and an
 * action make a named point, at which a process can be killed.
 */
import { basename, dirname } from "node:path";
import { decodeBatch } from "../../../../src/delivery/volumes/records.ts";
import {
  generationOf,
  headBytes,
  type RecordHead,
  readRecord,
  recordBytes,
} from "../../../../src/journal/format.ts";
import { decodeInfo, type Marks } from "../../../../src/journal/info.ts";
import type { Operation } from "./watched-file-system.ts";

export const actions = [
  "lock the journal",
  "make a segment",
  "name a segment",
  "write the state",
  "copy a frame",
  "reuse a segment",
  "delete a segment",
  "make the staging directory",
  "lock staging",
  "write the identity",
  "make a mailbox",
  "try a mailbox",
  "write a large body",
  "flush a large body",
  "flush a large body's name",
  "append",
  "append again",
  "make a staged file",
  "write a staged file",
  "flush a staged file",
  "flush staged names",
  "flush staged files together",
  "write DURABLE",
  "publish",
  "flush a mailbox",
  "flush mailboxes together",
  "flush staging",
  "write PUBLISHED",
  "remove a large body",
  "move to orphans",
  "flush orphans",
  "look for strays",
  "sweep a stray",
] as const;

export type Action = (typeof actions)[number];

export class ActionNames {
  readonly #mailRoot: string;
  readonly #begun = new Set<string>();
  readonly #marks = new Map<string, Marks>();
  /** Actions since staging was last flushed. */
  #bodyIsFlushed = false;
  #hasPublished = false;
  #hasOrphaned = false;
  #isSweeping = false;

  constructor(mailRoot: string) {
    this.#mailRoot = mailRoot;
  }

  /** The actions of an operation that is about to be done: none, one, or several at once. */
  actionsOf(operation: Operation): readonly Action[] {
    const { call, path, to = "" } = operation;
    const isSweeping = this.#isSweeping;
    this.#isSweeping = false;
    const isStaging = basename(path).startsWith(".postbag-") && dirname(path) === this.#mailRoot;
    const inStaging = basename(dirname(path)).startsWith(".postbag-");
    const isMessage = inStaging && path.includes(",S=");
    const isBody = isMessage && path.endsWith(".body");
    switch (call) {
      case "lock":
        return [inStaging ? "lock staging" : "lock the journal"];
      case "writeAt":
        return this.#writesOf(operation);
      case "write":
        if (/segment-\d+\.new$/.test(path)) return ["make a segment"];
        if (isBody) return ["write a large body"];
        return isMessage ? ["write a staged file"] : [];
      case "createExclusive":
        return isMessage && !isBody ? ["make a staged file"] : [];
      case "rename":
        if (/segment-\d+\.new$/.test(path)) return ["name a segment"];
        if (basename(to) === "identity") return ["write the identity"];
        return basename(path).startsWith(".probe-") ? ["try a mailbox"] : [];
      case "makeDirectory":
        if (isStaging) return ["make the staging directory"];
        return path.startsWith(`${this.#mailRoot}/`) && !path.includes(".postbag-")
          ? ["make a mailbox"]
          : [];
      case "renameInto":
        if (basename(dirname(dirname(to))) !== "orphans") {
          this.#hasPublished = true;
          return ["publish"];
        }
        this.#hasOrphaned = true;
        return ["move to orphans"];
      case "syncData":
        if (isBody) {
          this.#bodyIsFlushed = true;
          return ["flush a large body"];
        }
        return isMessage ? ["flush a staged file"] : [];
      case "sync":
        if (isStaging) return [this.#flushOfStaging()];
        if (isMessage) return ["flush a staged file"];
        if (path.includes("/orphans/")) return this.#hasOrphaned ? ["flush orphans"] : [];
        return /\/(new|cur)$/.test(path) && this.#hasPublished ? ["flush a mailbox"] : [];
      case "syncFileSystem":
        return [this.#hasPublished ? "flush mailboxes together" : "flush staged files together"];
      case "unlink":
        if (/segment-\d+$/.test(path)) return ["delete a segment"];
        this.#isSweeping = isSweeping;
        if (isSweeping && inStaging) return ["sweep a stray"];
        return isBody ? ["remove a large body"] : [];
      case "list":
        this.#isSweeping = isStaging;
        return isStaging ? ["look for strays"] : [];
      default:
        return [];
    }
  }

  /**
   * Staging is flushed after a large body, after staged files, and after files were renamed away.
   */
  #flushOfStaging(): Action {
    if (this.#bodyIsFlushed) {
      this.#bodyIsFlushed = false;
      return "flush a large body's name";
    }
    const hasLeft = this.#hasPublished || this.#hasOrphaned;
    this.#hasPublished = false;
    this.#hasOrphaned = false;
    return hasLeft ? "flush staging" : "flush staged names";
  }

  #writesOf({ path, bytes = Buffer.alloc(0), position }: Operation): readonly Action[] {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const isReused = position === 0 && this.#begun.has(path);
    if (position === 0) this.#begun.add(path);
    let at = 0;
    const found: Action[] = isReused ? ["reuse a segment"] : [];
    while (at < buffer.length) {
      const record = readRecord(buffer, at);
      if (record.state !== "whole") throw new Error(`a ${record.state} record is written`);
      const { head, info } = record;
      if (head.kind !== "header") found.push(...this.#writeOf(head, info, buffer, at));
      at += recordBytes(head.infoBytes, head.payloadBytes);
    }
    return found;
  }

  /** Marks have a record of their own, or share one with a frame. */
  #writeOf(head: RecordHead, info: Buffer, buffer: Buffer, at: number): readonly Action[] {
    const raised = this.#raised(info);
    if (head.kind === "marks") return raised.length > 0 ? raised : ["write the state"];
    if (generationOf(head.lsn) !== head.generation) return ["copy a frame"];
    const end = at + headBytes + head.infoBytes + head.payloadBytes;
    const { records } = decodeBatch(buffer.subarray(end - head.payloadBytes, end));
    return [records.some(({ tries }) => tries > 0) ? "append again" : "append", ...raised];
  }

  #raised(info: Buffer): readonly Action[] {
    const raised = new Set<Action>();
    for (const [volume, marks] of decodeInfo(info).marks) {
      const known = this.#marks.get(volume);
      this.#marks.set(volume, marks);
      if (!known) continue;
      if (marks.durable > known.durable) raised.add("write DURABLE");
      if (marks.published > known.published) raised.add("write PUBLISHED");
    }
    return [...raised];
  }
}
