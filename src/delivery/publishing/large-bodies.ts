/**
 * Bodies too large for the log: admission.ts stores such a body in a file in staging, durable with
 * its name before a frame refers to the file by name, size and checksum. staging.ts makes each
 * recipient's file from the head (trace fields for that recipient) and this file; publisher.ts
 * removes this file when all recipients' files are published.
 */
import { crc32 } from "node:zlib";
import type { Body } from "../../maildir/index.ts";
import type { Descriptor, FileSystem } from "../../system/index.ts";
import { DeliveryError } from "../errors.ts";
import type { LargeBody } from "../volumes/records.ts";
import type { Staging } from "./staging.ts";

const pieceBytes = 256 * 1024;

/** A body in the form of a record of the log. */
interface StoredBody {
  /** The whole message; or, before a large body, the recipient's trace fields or nothing. */
  readonly head: Uint8Array;
  readonly large: LargeBody | undefined;
}

/** Makes the large bodies of one batch durable in staging, once for each spool file and volume. */
export class LargeBodies {
  readonly #fileSystem: FileSystem;
  readonly #maxInlineBytes: number;
  /** By staging directory and spool file. */
  readonly #stored = new Map<string, LargeBody>();

  /** @param maxInlineBytes Largest message, in bytes, whose body is in a frame. */
  constructor(fileSystem: FileSystem, maxInlineBytes: number) {
    this.#fileSystem = fileSystem;
    this.#maxInlineBytes = maxInlineBytes;
  }

  /**
   * Returns what the record has of a body; a large body is durable in staging then. A spooled body
   * is always large.
   *
   * @throws the error of the disk; {DeliveryError} ERR_DELIVERY_FAILED when head and spool file do
   *   not have `body.size` bytes.
   */
  async store(body: Body, id: string, staging: Staging): Promise<StoredBody> {
    if (body instanceof Uint8Array) {
      if (body.length <= this.#maxInlineBytes) return { head: body, large: undefined };
      const large = await this.#write(`${id}.body`, staging, (write) => write(body));
      return { head: body.subarray(0, 0), large };
    }
    const key = `${staging.path} ${body.file}`;
    const large =
      this.#stored.get(key) ??
      (await this.#write(`${id}.body`, staging, (write) =>
        readPieces(body.file, this.#fileSystem, write),
      ));
    this.#stored.set(key, large);
    const size = body.head.length + large.size;
    if (size === body.size) return { head: body.head, large };
    throw new DeliveryError(
      "ERR_DELIVERY_FAILED",
      `Spooled body ${body.file} has ${size} bytes instead of ${body.size}; the message was not stored.`,
    );
  }

  async #write(
    name: string,
    staging: Staging,
    fill: (write: (piece: Uint8Array) => void) => void,
  ): Promise<LargeBody> {
    const file = this.#fileSystem.createExclusive(staging.pathOf(name), 0o600);
    let size = 0;
    let checksum = 0;
    try {
      fill((piece) => {
        this.#fileSystem.write(file, piece);
        size += piece.length;
        checksum = crc32(piece, checksum);
      });
      await this.#fileSystem.syncData(file);
      await staging.syncNames();
    } catch (error) {
      staging.remove(name);
      throw error;
    } finally {
      this.#fileSystem.close(file);
    }
    return { name, size, crc32: checksum };
  }
}

/**
 * Checks a large body before recovery uses it.
 *
 * @throws {DeliveryError} ERR_DELIVERY_JOURNAL when its size or checksum is not the record's.
 */
export function assertIntact(large: LargeBody, staging: Staging, fileSystem: FileSystem): void {
  let size = 0;
  let checksum = 0;
  readPieces(staging.pathOf(large.name), fileSystem, (piece) => {
    size += piece.length;
    checksum = crc32(piece, checksum);
  });
  if (size === large.size && checksum === large.crc32) return;
  const path = staging.pathOf(large.name);
  const text = `Large body ${path} does not match size and checksum in the journal.`;
  throw new DeliveryError("ERR_DELIVERY_JOURNAL", text, { path });
}

function readPieces(path: string, fileSystem: FileSystem, use: (piece: Uint8Array) => void): void {
  const file: Descriptor = fileSystem.openForReading(path);
  try {
    const piece = new Uint8Array(pieceBytes);
    for (;;) {
      const length = fileSystem.read(file, piece);
      if (length === 0) return;
      use(piece.subarray(0, length));
    }
  } finally {
    fileSystem.close(file);
  }
}
