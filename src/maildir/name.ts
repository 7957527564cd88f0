/**
 * Names of messages, which are their identity: `<sec>.M<usec>R<random>Q<counter>.<host>,S=<size>,W=<size>`.
 *
 * No name may ever repeat, because nothing checks: once a reader has moved a message to `cur/`, O_EXCL
 * in `tmp/` protects it no longer, and a reader that meets an old name again believes in a message come
 * back. So the random part is 64 bits drawn once per source, and the counter never stops; the time is
 * there for people and may step back freely.
 *
 * Source: the Maildir specification (cr.yp.to/proto/maildir.html); `,S=` and `,W=` as Maildir++ and
 * Dovecot have them, the size on disk and the size with every line end counted as CRLF.
 */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { Clock } from "../system/index.ts";

/** The name of a message up to, not including, the `:` of its flags: its exact file name in `new/`. */
export type MessageId = string;

export interface NameSource {
  /** Gives out a name that was never given out before. Sizes in octets. */
  next(size: number, crlfSize?: number): MessageId;
  /** Says whether a name, with or without flags, came from this source. */
  isOwn(name: string): boolean;
}

export interface NameSourceOptions {
  readonly clock: Clock;
  /** @defaultValue the machine's host name */
  readonly host?: string;
  /** Eight octets that no other start of a process has. @defaultValue from the system's random source */
  readonly random?: Uint8Array;
}

/**
 * Makes a source of names. One thread of a process should hold the only one: its `isOwn` is what
 * keeps a sweep of `tmp/` away from work under way.
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

/** Leaves room for everything else in the 255 octets of a file name. */
const longestHost = 64;

/** Makes a host name fit for a file name: `/` becomes `\057`, `:` becomes `\072`, and so on. */
export function escapeHost(host: string): string {
  const octets = [...Buffer.from(host || "localhost")];
  const escaped = octets.map((octet) => {
    const letter = String.fromCharCode(octet);
    return /[A-Za-z0-9._-]/.test(letter) ? letter : `\\${octet.toString(8).padStart(3, "0")}`;
  });
  return escaped.join("").slice(0, longestHost);
}

/** Splits a file name into the message's id and the flags behind `:2,`, which may be none. */
export function splitName(fileName: string): { readonly id: MessageId; readonly flags: string } {
  const colon = fileName.indexOf(":");
  if (colon < 0) return { id: fileName, flags: "" };
  const info = fileName.slice(colon + 1);
  return { id: fileName.slice(0, colon), flags: info.startsWith("2,") ? info.slice(2) : "" };
}

/** Says whether a text can be a message's id: a file name without flags that does not begin with a dot. */
export function isMessageId(text: string): boolean {
  return text !== "" && !/^\.|[/:\0]/.test(text);
}

/** Joins an id and flags into a file name for `cur/`. */
export function joinName(id: MessageId, flags: string): string {
  return `${id}:2,${flags}`;
}

/** Reads the sizes a name states, for names of any program that follows the convention. */
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

/** Counts the octets a body has when every line ends in CRLF: one more for each bare LF. */
export function crlfSizeOf(body: Uint8Array): number {
  const octets = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  let size = octets.length;
  for (let at = octets.indexOf(10); at >= 0; at = octets.indexOf(10, at + 1)) {
    if (octets[at - 1] !== 13) size += 1;
  }
  return size;
}
