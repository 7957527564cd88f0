/**
 * The payload of a frame, the unit of write of the journal's log: one batch, with a record (one
 * message for one mailbox) for each delivery. frame-log.ts encodes it, recovery decodes it.
 *
 * A prefix (the format's version, the length of the JSON), the records without bodies in JSON, then
 * all bodies end to end. `decodeBatch` refuses any value it does not know instead of guessing,
 * because recovery moves and removes mail files by these records. Paths below the mail root are
 * stored relative to it, so that the mail root can be moved.
 */
import { join, relative, resolve, sep } from "node:path";
import { DeliveryError } from "../errors.ts";

/** One message for one mailbox. */
export interface StoredRecord {
  /** The mailbox: relative to the mail root, or absolute when it lies elsewhere. */
  readonly mailbox: string;
  /** The id of the volume that holds the mailbox. */
  readonly volume: string;
  /** The message's unique name, in the log and as its file name in staging. */
  readonly id: string;
  /** The directory of the mailbox that gets the file. */
  readonly folder: "new" | "cur";
  /** The file name in `folder`: the id, in `cur/` with flags behind the id. */
  readonly fileName: string;
  /** Becomes the file's modification time, in milliseconds since 1970; `undefined`: now. */
  readonly receivedMs: number | undefined;
  /** How many attempts to publish the message have failed. */
  readonly tries: number;
  /** The whole message; with a large body, the recipient's trace fields or nothing. */
  readonly head: Uint8Array;
  /** The large body behind `head`; `undefined` when `head` is the whole message. */
  readonly large: LargeBody | undefined;
}

/** A body too large for a frame: a file in staging, durable before any frame refers to it. */
export interface LargeBody {
  /** The file's name in staging. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  readonly crc32: number;
}

/** A volume as a frame names it. */
export interface StoredVolume {
  readonly id: string;
  /** The directory with the volume's staging directory; relative to the mail root, or absolute. */
  readonly directory: string;
}

/** What one frame says. */
export interface StoredBatch {
  /** The journal's start counter when the frame was written. */
  readonly starts: bigint;
  /** Every volume that a record names. */
  readonly volumes: readonly StoredVolume[];
  readonly records: readonly StoredRecord[];
}

const version = 1;
const prefixBytes = 8;

/** Encodes a batch as a frame's payload, without copying the bodies. */
export function encodeBatch({ starts, volumes, records }: StoredBatch): Uint8Array[] {
  const text = JSON.stringify({
    starts: `${starts}`,
    volumes: volumes.map(({ id, directory }) => ({ id, home: directory })),
    records: records.map(({ head, ...fields }) => ({ ...fields, length: head.length })),
  });
  const json = Buffer.from(text);
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeUInt32LE(version, 0);
  prefix.writeUInt32LE(json.length, 4);
  return [prefix, json, ...records.map(({ head }) => head)];
}

/**
 * Decodes a payload. The bodies are views of `bytes`.
 *
 * @throws {DeliveryError} ERR_DELIVERY_JOURNAL for a payload that this version cannot have written.
 */
export function decodeBatch(bytes: Uint8Array): StoredBatch {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < prefixBytes) throw unreadable("it is too short");
  const found = buffer.readUInt32LE(0);
  if (found !== version) {
    throw unreadable(`it has format ${found}, this program knows ${version}`);
  }
  const bodiesAt = prefixBytes + buffer.readUInt32LE(4);
  if (bodiesAt > buffer.length) throw unreadable("its head is cut off");
  const head = parsed(buffer.toString("utf8", prefixBytes, bodiesAt));
  const volumes = listOf(head.volumes, "volumes").map(volumeOf);
  let at = bodiesAt;
  const records = listOf(head.records, "records").map((fields) => {
    const length = whole(fields.length, "length");
    at += length;
    if (at > bytes.length) throw unreadable("a body is cut off");
    return recordOf(fields, bytes.subarray(at - length, at), volumes);
  });
  if (at !== bytes.length) throw unreadable("bytes follow its last body");
  return { starts: startsOf(head.starts), volumes, records };
}

/** The form of a path in the log: relative to the mail root when below it, else absolute. */
export function storedPath(path: string, root: string | undefined): string {
  if (root === undefined) return resolve(path);
  const way = relative(resolve(root), resolve(path));
  return way === ".." || way.startsWith(`..${sep}`) ? resolve(path) : way;
}

/**
 * The absolute path of a path in the log: the reverse of {@link storedPath}.
 * @throws {DeliveryError} ERR_DELIVERY_JOURNAL for a relative path without a mail root
 */
export function pathOfStored(path: string, root: string | undefined): string {
  if (path.startsWith(sep)) return path;
  if (root !== undefined) return join(resolve(root), path);
  throw new DeliveryError(
    "ERR_DELIVERY_JOURNAL",
    `The journal holds mail for "${path}" below a mail root; pass that directory as mailRoot.`,
  );
}

type Fields = Readonly<Record<string, unknown>>;

function parsed(text: string): Fields {
  try {
    return fieldsOf(JSON.parse(text));
  } catch (error) {
    throw error instanceof DeliveryError ? error : unreadable("its head is no JSON");
  }
}

function volumeOf(fields: Fields): StoredVolume {
  onlyFields(fields, ["id", "home"]);
  return { id: text(fields.id, "volume"), directory: safePath(fields.home, "home") };
}

function recordOf(
  fields: Fields,
  head: Uint8Array,
  volumes: readonly StoredVolume[],
): StoredRecord {
  onlyFields(fields, recordFields);
  const id = fileName(fields.id, "id");
  const volume = text(fields.volume, "volume");
  if (!volumes.some((known) => known.id === volume)) throw unreadable("a volume is not listed");
  const { folder } = fields;
  if (folder !== "new" && folder !== "cur") throw unreadable("a folder is neither new nor cur");
  const name = fileName(fields.fileName, "fileName");
  if (name !== id && !name.startsWith(`${id}:`))
    throw unreadable("a file name does not begin with its id");
  return {
    mailbox: safePath(fields.mailbox, "mailbox"),
    volume,
    id,
    folder,
    fileName: name,
    receivedMs: fields.receivedMs === undefined ? undefined : date(fields.receivedMs),
    tries: whole(fields.tries, "tries"),
    head,
    large: fields.large === undefined ? undefined : largeOf(fieldsOf(fields.large)),
  };
}

const recordFields = "mailbox volume id folder fileName receivedMs tries large length".split(" ");

function largeOf(fields: Fields): LargeBody {
  onlyFields(fields, ["name", "size", "crc32"]);
  return {
    name: fileName(fields.name, "large body"),
    size: whole(fields.size, "size"),
    crc32: whole(fields.crc32, "crc32"),
  };
}

function startsOf(value: unknown): bigint {
  if (typeof value !== "string" || !/^\d{1,20}$/.test(value))
    throw unreadable("starts is no counter");
  return BigInt(value);
}

/**
 * Refuses fields not in `known`: an unknown field may change the meaning of the known ones.
 */
function onlyFields(fields: Fields, known: readonly string[]): void {
  const unknown = Object.keys(fields).find((field) => !known.includes(field));
  if (unknown !== undefined) throw unreadable(`a field ${JSON.stringify(unknown)} is unknown`);
}

function listOf(value: unknown, what: string): Fields[] {
  if (!Array.isArray(value)) throw unreadable(`${what} is no list`);
  return value.map(fieldsOf);
}

function fieldsOf(value: unknown): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw unreadable("an object is missing");
  }
  return value as Fields;
}

function text(value: unknown, what: string): string {
  if (typeof value === "string" && value !== "" && !value.includes("\0")) return value;
  throw unreadable(`${what} is no text`);
}

/** A name that cannot lead out of its directory. */
function fileName(value: unknown, what: string): string {
  const name = text(value, what);
  if (name.startsWith(".") || name.includes("/")) throw unreadable(`${what} is no file name`);
  return name;
}

/** Refuses a path with `..`; an empty path is the mail root itself. */
function safePath(value: unknown, what: string): string {
  if (value === "") return value;
  const path = text(value, what);
  if (path.split(sep).includes("..")) throw unreadable(`${what} leads upwards`);
  return path;
}

function whole(value: unknown, what: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw unreadable(`${what} is no whole number`);
}

function date(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw unreadable("receivedMs is no time");
}

function unreadable(why: string): DeliveryError {
  return new DeliveryError(
    "ERR_DELIVERY_JOURNAL",
    `A frame of the journal cannot be read: ${why}. Nothing was changed.`,
  );
}
