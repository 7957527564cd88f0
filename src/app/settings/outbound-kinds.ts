/**
 * The kinds of value that only outbound settings have (outbound-table.ts): stores, relays, ports,
 * name servers, networks. The kinds of all other settings are in kinds.ts.
 */
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import { resolve } from "node:path";
import type { Kind } from "./kinds.ts";

/** Where the database of the outbox is. */
export type StoreAddress =
  | { readonly kind: "sqlite"; readonly file: string }
  | { readonly kind: "postgres"; readonly url: string };

export const storeAddress: Kind<StoreAddress> = {
  shape: "FILE|URL",
  expected: "the path of a file for SQLite, or postgres://USER@HOST/DATABASE",
  read: (text, folder) => {
    if (/^postgres(?:ql)?:\/\//.test(text)) {
      return URL.canParse(text) ? { kind: "postgres", url: text } : undefined;
    }
    // A text that looks like a URL is a mistake, not the name of a file.
    if (text === "" || text.includes("\0") || text.includes("://")) return undefined;
    return { kind: "sqlite", file: resolve(folder, text) };
  },
  show: (value) => (value.kind === "sqlite" ? value.file : withoutPassword(value.url)),
};

/** The SMTP server that sends mail for other domains on. */
export interface RelayAddress {
  readonly host: string;
  readonly port: number;
  /** Whether TLS begins with the connection (`smtps://`) instead of by STARTTLS. */
  readonly implicitTls: boolean;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
}

const defaultPorts = { "smtp:": 25, "smtps:": 465 } as const;

export const relayAddress: Kind<RelayAddress> = {
  shape: "URL",
  expected: "smtp://HOST:PORT or smtps://HOST:PORT, with USER:PASSWORD@ where the relay needs it",
  read: (text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url?.protocol !== "smtp:" && url?.protocol !== "smtps:") return undefined;
    const { protocol, hostname, port, pathname, search, hash } = url;
    if (hostname === "" || !["", "/"].includes(pathname) || search !== "" || hash !== "") {
      return undefined;
    }
    const user = decoded(url.username);
    const password = decoded(url.password);
    if (user === undefined || password === undefined || (user === "" && password !== "")) {
      return undefined;
    }
    return {
      host: hostname.replace(/^\[(.*)\]$/, "$1"),
      port: port === "" ? defaultPorts[protocol] : Number(port),
      implicitTls: protocol === "smtps:",
      user: user || undefined,
      password: password || undefined,
    };
  },
  show: ({ host, port, implicitTls, user, password }) => {
    const secret = password === undefined ? "" : ":***";
    const who = user === undefined ? "" : `${encodeURIComponent(user)}${secret}@`;
    const name = host.includes(":") ? `[${host}]` : host;
    return `${implicitTls ? "smtps" : "smtp"}://${who}${name}:${port}`;
  },
};

export const tcpPort: Kind<number> = {
  shape: "PORT",
  expected: "a port from 1 to 65535",
  read: (text) => (/^\d{1,5}$/.test(text) && isPort(Number(text)) ? Number(text) : undefined),
  show: String,
};

function isPort(value: number): boolean {
  return value >= 1 && value <= 65_535;
}

/** The addresses of name servers, each with a port unless that is 53. */
export const nameServers: Kind<readonly string[]> = {
  shape: "ADDRESS[:PORT]",
  expected: "addresses such as 192.0.2.1, 127.0.0.1:5353 or [2001:db8::1]:53, separated by commas",
  read: (text) => {
    const items = text.split(",").map((item) => item.trim());
    return items.every(isNameServer) ? items : undefined;
  },
  show: (items) => items.join(","),
};

/** Addresses and networks of clients; `off` is the empty list. */
export const networks: Kind<readonly string[]> = {
  shape: "ADDRESS[/BITS]",
  expected: "addresses or networks such as 192.0.2.0/24, separated by commas, or off",
  read: (text) => {
    if (text === "off") return [];
    const items = text.split(",").map((item) => item.trim());
    return items.every(isNetwork) ? items : undefined;
  },
  show: (items) => (items.length === 0 ? "off" : items.join(",")),
};

/** Tells whether an address is in one of the networks. */
export function isWithin(address: string, within: readonly string[]): boolean {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "");
  if (isIP(plain) === 0) return false;
  const list = new BlockList();
  for (const network of within) {
    const [start = "", bits] = network.split("/");
    const family = familyOf(start);
    if (bits === undefined) list.addAddress(start, family);
    else list.addSubnet(start, Number(bits), family);
  }
  return list.check(plain, familyOf(plain));
}

function isNameServer(text: string): boolean {
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([\d.]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  if (port !== undefined && !isPort(Number(port))) return false;
  return isIP(text) !== 0 || isIPv6(six ?? "") || isIPv4(four ?? "");
}

function isNetwork(text: string): boolean {
  const [, address = "", bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const version = isIP(address);
  return version !== 0 && (bits === undefined || Number(bits) <= (version === 4 ? 32 : 128));
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIPv6(address) ? "ipv6" : "ipv4";
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function withoutPassword(text: string): string {
  const url = new URL(text);
  if (url.password !== "") url.password = "***";
  if (url.searchParams.has("password")) url.searchParams.set("password", "***");
  return url.href;
}
