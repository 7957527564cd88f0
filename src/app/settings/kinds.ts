/**
 * The kinds of value that settings have (table.ts): how a value is written, read and shown. The
 * kinds of the outbound settings are in outbound-kinds.ts.
 *
 * A value from a flag, the environment or the configuration file arrives as text, so that one rule
 * reads all three. A kind reads a text or refuses it; it never corrects it.
 */
import { isAbsolute, resolve } from "node:path";
import { normaliseDomain } from "../../mail/index.ts";
import { isLoopbackHost } from "../../system/index.ts";

export interface Kind<T> {
  /** How the value is written in help texts, such as `HOST:PORT`. */
  readonly shape: string;
  /** Completes the sentence "maxBatch must be ...". */
  readonly expected: string;
  /**
   * Reads a value. Relative paths start at `folder`.
   *
   * @returns `undefined` for a wrong text; settings.ts then stops the program with `expected`.
   */
  readonly read: (text: string, folder: string) => T | undefined;
  /** The text of a value, with passwords as `***`; `read` accepts it if it has no password. */
  readonly show: (value: T) => string;
}

/** A TCP address, or the path of a UNIX socket, to listen on. */
export type ListenAddress =
  | { readonly host: string; readonly port: number }
  | { readonly path: string };

const units: Readonly<Record<string, number>> = { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

export function wholeNumber(min: number, shape = "N"): Kind<number> {
  return {
    shape,
    expected: `a whole number from ${min} up`,
    read: (text) => {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      return value >= min ? value : undefined;
    },
    show: String,
  };
}

export const milliseconds = wholeNumber(0, "MS");

export const bytes: Kind<number> = {
  shape: "BYTES",
  expected: "a number of bytes from 1 up, such as 1048576 or 1MiB",
  read: (text) => {
    const [, digits, unit] = /^(\d{1,15})(KiB|MiB|GiB|)$/.exec(text) ?? [];
    const value = Number(digits ?? Number.NaN) * (units[unit ?? ""] ?? Number.NaN);
    return value >= 1 && Number.isSafeInteger(value) ? value : undefined;
  },
  show: (value) => {
    const unit = ["GiB", "MiB", "KiB"].find((name) => value % (units[name] ?? 1) === 0) ?? "";
    return `${value / (units[unit] ?? 1)}${unit}`;
  },
};

/** The size of a segment of the journal, whose records begin at multiples of 4096. */
export const segmentBytes: Kind<number> = {
  shape: "BYTES",
  expected: "a multiple of 4KiB from 16KiB to 1GiB, such as 32MiB",
  read: (text, base) => {
    const value = bytes.read(text, base) ?? Number.NaN;
    return value % 4096 === 0 && value >= 2 ** 14 && value <= 2 ** 30 ? value : undefined;
  },
  show: bytes.show,
};

export const folder: Kind<string> = {
  shape: "DIR",
  expected: "the path of a folder",
  read: (text, base) => (text === "" || text.includes("\0") ? undefined : resolve(base, text)),
  show: (value) => value,
};

export const file: Kind<string> = { ...folder, shape: "FILE", expected: "the path of a file" };

export const hostName: Kind<string> = {
  shape: "NAME",
  expected: "a host name, such as mail.example.org",
  read: (text) => normaliseDomain(text),
  show: (value) => value,
};

/** A list, separated by commas; a flag may also be given several times. */
export function listOf<T>(kind: Kind<T>): Kind<readonly T[]> {
  return {
    shape: kind.shape,
    expected: `${kind.expected} (several: separate them with commas)`,
    read: (text, base) => {
      const items = text
        .split(",")
        .map((item) => item.trim())
        .filter((item) => item !== "")
        .map((item) => kind.read(item, base));
      return items.every((item) => item !== undefined) ? items : undefined;
    },
    show: (items) => items.map((item) => kind.show(item)).join(","),
  };
}

export function oneOf<const T extends string>(...words: readonly T[]): Kind<T> {
  return {
    shape: words.join("|"),
    expected: `one of ${words.join(", ")}`,
    read: (text) => words.find((word) => word === text),
    show: (value) => value,
  };
}

const off = ["off", "false"];

/** `HOST:PORT`, where the system chooses the port for 0; or `off`, which is `false`. */
export const tcpAddress: Kind<{ readonly host: string; readonly port: number } | false> = {
  shape: "HOST:PORT",
  expected: "HOST:PORT such as 127.0.0.1:2525, or off",
  read: (text) => (off.includes(text) ? false : readHostAndPort(text)),
  show: (value) => (value === false ? "off" : showListenAddress(value)),
};

/** `HOST:PORT`, the path of a UNIX socket (a text with a slash), or `off`, which is `false`. */
export const listenAddress: Kind<ListenAddress | false> = {
  shape: "HOST:PORT|PATH",
  expected: "HOST:PORT such as 127.0.0.1:2424, a path such as /run/postbag/lmtp, or off",
  read: (text, base) => {
    if (off.includes(text)) return false;
    if (!text.includes("/")) return readHostAndPort(text);
    return { path: isAbsolute(text) ? text : resolve(base, text) };
  },
  show: (value) => (value === false ? "off" : showListenAddress(value)),
};

/**
 * Shows an address as it is written in a setting: an IPv6 host in brackets, a socket as its path.
 */
export function showListenAddress(address: ListenAddress): string {
  if ("path" in address) return address.path;
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

/** Tells whether only this machine can reach the address. */
export function isLoopback(address: ListenAddress): boolean {
  return "path" in address || isLoopbackHost(address.host);
}

function readHostAndPort(
  text: string,
): { readonly host: string; readonly port: number } | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(
    text,
  ) ?? [undefined, undefined, undefined, undefined];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || !(port <= 65_535)) return undefined;
  return { host, port };
}
