/**
 * The body of a message on its way to the disk: bytes in memory, or a head and a spool file. A
 * large message is copied in pieces and is never wholly in memory.
 */
import type { Descriptor, FileSystem } from "../system/index.ts";
import { MaildirError } from "./errors.ts";
import { crlfSizeOf } from "./name.ts";

/** `head`, then the bytes of `file`. */
export interface SpooledBody {
  readonly head: Uint8Array;
  readonly file: string;
  /** Bytes of head and file together, exact. */
  readonly size: number;
  /** The same with every line ending counted as CRLF, if the spooler counted it. */
  readonly crlfSize?: number | undefined;
}

export type Body = Uint8Array | SpooledBody;

const pieceBytes = 256 * 1024;

/** Whether a value from outside is a body, for callers without types. */
export function isBody(value: unknown): value is Body {
  if (value instanceof Uint8Array) return true;
  if (typeof value !== "object" || value === null) return false;
  const { head, file, size } = value as Partial<SpooledBody>;
  return head instanceof Uint8Array && typeof file === "string" && Number.isSafeInteger(size);
}

export function bodySizes(body: Body): {
  readonly size: number;
  readonly crlfSize: number | undefined;
} {
  return body instanceof Uint8Array
    ? { size: body.length, crlfSize: crlfSizeOf(body) }
    : { size: body.size, crlfSize: body.crlfSize };
}

/** Appends a body to a file. @throws MaildirError `ERR_MAILDIR_BODY_SIZE` */
export function writeBody(body: Body, to: Descriptor, fileSystem: FileSystem): void {
  if (body instanceof Uint8Array) {
    fileSystem.write(to, body);
    return;
  }
  fileSystem.write(to, body.head);
  const copied = body.head.length + copyFile(body.file, to, fileSystem);
  if (copied !== body.size) {
    throw new MaildirError(
      "ERR_MAILDIR_BODY_SIZE",
      `spooled body ${body.file} has ${copied} bytes with its head, not ${body.size} as stated`,
      { path: body.file },
    );
  }
}

function copyFile(path: string, to: Descriptor, fileSystem: FileSystem): number {
  const from = fileSystem.openForReading(path);
  try {
    const piece = new Uint8Array(pieceBytes);
    let copied = 0;
    for (;;) {
      const length = fileSystem.read(from, piece);
      if (length === 0) return copied;
      fileSystem.write(to, piece.subarray(0, length));
      copied += length;
    }
  } finally {
    fileSystem.close(from);
  }
}
