/**
 * Names of messages, which are their identity:
 * `<sec>.M<usec>R<random>Q<counter>.<host>,S=<size>,W=<size>`.
 *
 * No name may ever repeat, because no later check finds a repeated one: once a reader has moved a
 * message to `cur/`, O_EXCL in `tmp/` no longer protects its name, and a reader takes a repeated
 * name for the old message. So the random part is 64 bits drawn once for each source, and the
 * counter never stops; the time is there for people and may step back freely.
 *
 * Source: the Maildir specification (cr.yp.to/proto/maildir.html); `,S=` and `,W=` as in
 * Maildir++ and Dovecot, the size on disk and the size with every line ending counted as CRLF.
 */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { Clock } from "../system/index.ts";

/** The name of a message without the `:` and the flags: its exact file name in `new/`. */
export type MessageId = string;

export interface NameSource {
  /** Makes a name that was never made before. Sizes in bytes. */
  next(size: number, crlfSize?: number): MessageId;
  /** Whether a name, with or without flags, came from this source. */
  isOwn(name: string): boolean;
}

export interface NameSourceOptions {
  readonly clock: Clock;
  /** @defaultValue the machine's host name */
  readonly host?: string;
  /**
   * Eight bytes that no other source has, in this process or another.
   * @defaultValue from the system's random source
   */
  readonly random?: Uint8Array;
}

/**
 * Makes a source of names. A process should have only one: by its `isOwn` a cleaning of `tmp/`
 * spares the files of deliveries in progress.
 */
export function createNameSource({ clock, host, random }: NameSourceOptions): NameSource {
  const start = Buffer.from(random ?? randomBytes(8)).toString("hex");
  const place = escapeHost(host ?? hostname());
  const own = `R${start}Q`;
  let count = 0;
  return {
    next: (size, crlfSize) => {
      count += 1;
      const ms = Math.max(0, Math.floor(clock.wallTimeMs()));
      const time = `${Math.floor(ms / 1000)}.M${(ms % 1000) * 1000}`;
      const wide = crlfSize === undefined ? "" : `,W=${crlfSize}`;
      return `${time}${own}${count}.${place},S=${size}${wide}`;
    },
    isOwn: (name) => name.includes(own),
  };
}

/** Leaves room for the rest of a name in the 255 bytes of a file name. */
const maxHostBytes = 64;

/** Makes a host name fit for a file name: `/` becomes `\057`, `:` becomes `\072`, and so on. */
export function escapeHost(host: string): string {
  const bytes = [...Buffer.from(host || "localhost")];
  const escaped = bytes.map((byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9._-]/.test(character) ? character : `\\${byte.toString(8).padStart(3, "0")}`;
  });
  return escaped.join("").slice(0, maxHostBytes);
}

/** Splits a file name into the message's id and the flags behind `:2,`, which may be none. */
export function splitName(fileName: string): { readonly id: MessageId; readonly flags: string } {
  const colon = fileName.indexOf(":");
  if (colon < 0) return { id: fileName, flags: "" };
  const info = fileName.slice(colon + 1);
  return { id: fileName.slice(0, colon), flags: info.startsWith("2,") ? info.slice(2) : "" };
}

/**
 * Whether a text can be a message's id: a file name without flags that does not begin with a dot.
 */
export function isMessageId(text: string): boolean {
  return text !== "" && !/^\.|[/:\0]/.test(text);
}

/** Joins an id and flags into a file name for `cur/`. */
export function joinName(id: MessageId, flags: string): string {
  return `${id}:2,${flags}`;
}

/** Reads the sizes in a name, of any program that follows the convention. */
export function sizesInName(fileName: string): {
  readonly size: number | undefined;
  readonly crlfSize: number | undefined;
} {
  const { id } = splitName(fileName);
  return { size: numberBehind(id, "S"), crlfSize: numberBehind(id, "W") };
}

function numberBehind(id: string, letter: string): number | undefined {
  const digits = new RegExp(`,${letter}=(\\d+)(?=,|$)`).exec(id)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Counts the bytes of a body with CRLF line endings: one more for each bare LF. */
export function crlfSizeOf(body: Uint8Array): number {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  let size = bytes.length;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) {
    if (bytes[at - 1] !== 13) size += 1;
  }
  return size;
}
