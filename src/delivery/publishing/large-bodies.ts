/**
 * Bodies too large for the log: a file in staging takes the body's place, durable with its name before a
 * frame speaks of it by name, size and checksum. Each recipient's file is made from it; it goes when all
 * of them are published.
 */
import { crc32 } from "node:zlib";
import type { Body } from "../../maildir/index.ts";
import type { Descriptor, FileSystem } from "../../system/index.ts";
import { DeliveryError } from "../errors.ts";
import type { LargeBody } from "../volumes/records.ts";
import type { Staging } from "./staging.ts";

const pieceBytes = 256 * 1024;

/** A body as a record holds it. */
export interface StoredBody {
  readonly head: Uint8Array;
  readonly large: LargeBody | undefined;
}

/** Makes what is large durable in staging, once for all recipients who get the same spool file. */
export class LargeBodies {
  readonly #fileSystem: FileSystem;
  readonly #maxInlineBytes: number;
  readonly #kept = new Map<string, LargeBody>();

  /** @param maxInlineBytes Largest message that travels in a frame. */
  constructor(fileSystem: FileSystem, maxInlineBytes: number) {
    this.#fileSystem = fileSystem;
    this.#maxInlineBytes = maxInlineBytes;
  }

  /** @throws the error of the disk; DeliveryError when the spool file is not as long as it was said. */
  async store(body: Body, id: string, staging: Staging): Promise<StoredBody> {
    if (body instanceof Uint8Array) {
      if (body.length <= this.#maxInlineBytes) return { head: body, large: undefined };
      const large = await this.#keep(`${id}.body`, staging, (write) => write(body));
      return { head: body.subarray(0, 0), large };
    }
    const key = `${staging.path} ${body.file}`;
    const large =
      this.#kept.get(key) ??
      (await this.#keep(`${id}.body`, staging, (write) =>
        readPieces(body.file, this.#fileSystem, write),
      ));
    this.#kept.set(key, large);
    const size = body.head.length + large.size;
    if (size === body.size) return { head: body.head, large };
    throw new DeliveryError(
      "ERR_DELIVERY_FAILED",
      `spooled body ${body.file} gave ${size} octets instead of ${body.size}`,
    );
  }

  async #keep(
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

/** @throws {DeliveryError} ERR_DELIVERY_JOURNAL when a large body is not as the log describes it */
export function mustBeIntact(large: LargeBody, staging: Staging, fileSystem: FileSystem): void {
  let size = 0;
  let checksum = 0;
  readPieces(staging.pathOf(large.name), fileSystem, (piece) => {
    size += piece.length;
    checksum = crc32(piece, checksum);
  });
  if (size === large.size && checksum === large.crc32) return;
  const path = staging.pathOf(large.name);
  throw new DeliveryError("ERR_DELIVERY_JOURNAL", `${path} is not as the journal describes it`, {
    path,
  });
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
