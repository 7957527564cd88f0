/**
 * What a frame of the journal says: the messages of one batch, and where each is to go.
 *
 * A head in JSON, led by the format's version and its own length, then all bodies end to end. A reader
 * refuses what it does not understand instead of guessing, because it acts on mail files by it. Paths
 * below the mail root are kept relative to it, so that the whole root may be moved.
 */
import { join, relative, resolve, sep } from "node:path";
import { DeliveryError } from "../errors.ts";

/** One message for one mailbox. */
export interface StoredRecord {
  /** The mailbox: relative to the mail root, or absolute when it lies elsewhere. */
  readonly mailbox: string;
  /** The mail file system it lies on. */
  readonly volume: string;
  /** The message's unique name: that of its file in staging, and its identity throughout the log. */
  readonly id: string;
  readonly folder: "new" | "cur";
  /** Its name there: the id, in `cur/` with flags behind it. */
  readonly fileName: string;
  /** Becomes the modification time. */
  readonly receivedMs: number | undefined;
  /** How often publishing it has failed. */
  readonly tries: number;
  /** The whole message, or what stands before a large body. */
  readonly head: Uint8Array;
  readonly large: LargeBody | undefined;
}

/** A body too large for a frame: a file in staging, durable before any frame speaks of it. */
export interface LargeBody {
  readonly name: string;
  readonly size: number;
  readonly crc32: number;
}

/** A mail file system as a frame names it. */
export interface StoredVolume {
  readonly id: string;
  /** The directory that holds its staging directory; relative to the mail root, or absolute. */
  readonly home: string;
}

export interface StoredBatch {
  /** The journal's start counter when the frame was written. */
  readonly starts: bigint;
  readonly volumes: readonly StoredVolume[];
  readonly records: readonly StoredRecord[];
}

const version = 1;
const prefixBytes = 8;

/** Lays a batch out as a frame's payload, without copying the bodies. */
export function encodeBatch({ starts, volumes, records }: StoredBatch): Uint8Array[] {
  const text = JSON.stringify({
    starts: `${starts}`,
    volumes: volumes.map(({ id, home }) => ({ id, home })),
    records: records.map(({ head, ...facts }) => ({ ...facts, length: head.length })),
  });
  const json = Buffer.from(text);
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeUInt32LE(version, 0);
  prefix.writeUInt32LE(json.length, 4);
  return [prefix, json, ...records.map(({ head }) => head)];
}

/**
 * Reads a payload. The bodies are views of `bytes`.
 *
 * @throws {DeliveryError} ERR_DELIVERY_JOURNAL when any of it is not as this version writes it.
 */
export function decodeBatch(bytes: Uint8Array): StoredBatch {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < prefixBytes) throw notUnderstood("it is too short");
  const found = buffer.readUInt32LE(0);
  if (found !== version)
    throw notUnderstood(`it has format ${found}, this program knows ${version}`);
  const bodiesAt = prefixBytes + buffer.readUInt32LE(4);
  if (bodiesAt > buffer.length) throw notUnderstood("its head is cut off");
  const head = parsed(buffer.toString("utf8", prefixBytes, bodiesAt));
  const volumes = listOf(head.volumes, "volumes").map(volumeOf);
  let at = bodiesAt;
  const records = listOf(head.records, "records").map((facts) => {
    const length = whole(facts.length, "length");
    at += length;
    if (at > bytes.length) throw notUnderstood("a body is cut off");
    return recordOf(facts, bytes.subarray(at - length, at), volumes);
  });
  if (at !== bytes.length) throw notUnderstood("something follows its last body");
  return { starts: startsOf(head.starts), volumes, records };
}

/** Writes a path for the log: relative to the mail root when it lies below. */
export function storedPath(path: string, root: string | undefined): string {
  if (root === undefined) return resolve(path);
  const way = relative(resolve(root), resolve(path));
  return way === ".." || way.startsWith(`..${sep}`) ? resolve(path) : way;
}

/** Reads a path of the log. @throws {DeliveryError} ERR_DELIVERY_JOURNAL without the mail root it needs */
export function pathOfStored(path: string, root: string | undefined): string {
  if (path.startsWith(sep)) return path;
  if (root !== undefined) return join(resolve(root), path);
  throw new DeliveryError(
    "ERR_DELIVERY_JOURNAL",
    `The journal holds mail for "${path}" below a mail root; say which with mailRoot.`,
  );
}

type Facts = Readonly<Record<string, unknown>>;

function parsed(text: string): Facts {
  try {
    return factsOf(JSON.parse(text));
  } catch (error) {
    throw error instanceof DeliveryError ? error : notUnderstood("its head is no JSON");
  }
}

function volumeOf(facts: Facts): StoredVolume {
  onlyFields(facts, ["id", "home"]);
  return { id: text(facts.id, "volume"), home: safePath(facts.home, "home") };
}

function recordOf(facts: Facts, head: Uint8Array, volumes: readonly StoredVolume[]): StoredRecord {
  onlyFields(facts, recordFields);
  const id = fileName(facts.id, "id");
  const volume = text(facts.volume, "volume");
  if (!volumes.some((known) => known.id === volume)) throw notUnderstood("a volume is not listed");
  const { folder } = facts;
  if (folder !== "new" && folder !== "cur") throw notUnderstood("a folder is neither new nor cur");
  const name = fileName(facts.fileName, "fileName");
  if (name !== id && !name.startsWith(`${id}:`)) throw notUnderstood("a name is not its id's");
  return {
    mailbox: safePath(facts.mailbox, "mailbox"),
    volume,
    id,
    folder,
    fileName: name,
    receivedMs: facts.receivedMs === undefined ? undefined : date(facts.receivedMs),
    tries: whole(facts.tries, "tries"),
    head,
    large: facts.large === undefined ? undefined : largeOf(factsOf(facts.large)),
  };
}

const recordFields = [
  ...["mailbox", "volume", "id", "folder", "fileName"],
  ...["receivedMs", "tries", "large", "length"],
];

function largeOf(facts: Facts): LargeBody {
  onlyFields(facts, ["name", "size", "crc32"]);
  return {
    name: fileName(facts.name, "large body"),
    size: whole(facts.size, "size"),
    crc32: whole(facts.crc32, "crc32"),
  };
}

function startsOf(value: unknown): bigint {
  if (typeof value !== "string" || !/^\d{1,20}$/.test(value)) throw notUnderstood("starts");
  return BigInt(value);
}

/** A field this version does not know may change what the others mean. */
function onlyFields(facts: Facts, fields: readonly string[]): void {
  const unknown = Object.keys(facts).find((field) => !fields.includes(field));
  if (unknown !== undefined) throw notUnderstood(`a field ${JSON.stringify(unknown)} is unknown`);
}

function listOf(value: unknown, what: string): Facts[] {
  if (!Array.isArray(value)) throw notUnderstood(`${what} is no list`);
  return value.map(factsOf);
}

function factsOf(value: unknown): Facts {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw notUnderstood("an object is missing");
  }
  return value as Facts;
}

function text(value: unknown, what: string): string {
  if (typeof value === "string" && value !== "" && !value.includes("\0")) return value;
  throw notUnderstood(`${what} is no text`);
}

/** A name that cannot lead out of its directory. */
function fileName(value: unknown, what: string): string {
  const name = text(value, what);
  if (name.startsWith(".") || name.includes("/")) throw notUnderstood(`${what} is no file name`);
  return name;
}

/** A path that does not lead up again; empty is the mail root itself. */
function safePath(value: unknown, what: string): string {
  if (value === "") return value;
  const path = text(value, what);
  if (path.split(sep).includes("..")) throw notUnderstood(`${what} leads upwards`);
  return path;
}

function whole(value: unknown, what: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw notUnderstood(`${what} is no whole number`);
}

function date(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw notUnderstood("receivedMs is no time");
}

function notUnderstood(why: string): DeliveryError {
  return new DeliveryError(
    "ERR_DELIVERY_JOURNAL",
    `A frame of the journal is not understood: ${why}. Nothing was changed for its sake.`,
  );
}
