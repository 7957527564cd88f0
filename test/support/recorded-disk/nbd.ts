/**
 * The part of the NBD wire format that server.ts needs: bytes to values and back. Pure.
 *
 * Fixed newstyle handshake, simple replies, READ, WRITE and WRITE_ZEROES (with FUA), FLUSH and
 * DISC. All numbers are big-endian.
 *
 * Source: the NBD protocol, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 */
const serverMagic = 0x4e42444d41474943n; // "NBDMAGIC"
const optionMagic = 0x49484156454f5054n; // "IHAVEOPT"
const optionReplyMagic = 0x3e889045565a9n;
const requestMagic = 0x25609513;
const simpleReplyMagic = 0x67446698;

const fixedNewstyle = 1;
const noZeroes = 2;
const hasFlags = 1;
const sendFlush = 4;
const sendFua = 8;
const sendWriteZeroes = 64;
const fuaFlag = 1;

export const option = { exportName: 1, abort: 2, info: 6, go: 7 } as const;
export const optionReplyType = { ack: 1, info: 3, unsupported: 0x80000001 } as const;
export const command = { read: 0, write: 1, disconnect: 2, flush: 3, writeZeroes: 6 } as const;
export const error = { none: 0, io: 5, invalid: 22 } as const;

export interface OptionRequest {
  readonly option: number;
}

export interface Request {
  readonly command: number;
  readonly fua: boolean;
  /** Chosen by the client; the reply has the same. */
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
  /** The bytes of a WRITE, else empty. */
  readonly data: Buffer;
}

/** Bytes that arrived and are not yet decoded. */
export class Received {
  #chunks: Buffer[] = [];
  #length = 0;

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** Returns the first `count` bytes without taking them; undefined while there are fewer. */
  peek(count: number): Buffer | undefined {
    if (this.#length < count) return undefined;
    const first = this.#chunks[0];
    if (first !== undefined && first.length >= count) return first.subarray(0, count);
    const whole = Buffer.concat(this.#chunks);
    this.#chunks = [whole];
    return whole.subarray(0, count);
  }

  /** Takes the first `count` bytes; undefined while there are fewer. */
  take(count: number): Buffer | undefined {
    const taken = this.peek(count);
    if (taken === undefined || count === 0) return taken;
    const rest = this.#chunks[0]!.subarray(count);
    if (rest.length > 0) this.#chunks[0] = rest;
    else this.#chunks.shift();
    this.#length -= count;
    return taken;
  }
}

/** The greeting of the server. */
export function encodeGreeting(): Buffer {
  const bytes = Buffer.alloc(18);
  bytes.writeBigUInt64BE(serverMagic, 0);
  bytes.writeBigUInt64BE(optionMagic, 8);
  bytes.writeUInt16BE(fixedNewstyle | noZeroes, 16);
  return bytes;
}

/** The client's answer to the greeting: whether it wants 124 zero bytes after an export name. */
export function decodeClientFlags(received: Received): { padding: boolean } | undefined {
  const bytes = received.take(4);
  return bytes && { padding: (bytes.readUInt32BE(0) & noZeroes) === 0 };
}

/** One option of the handshake; its data is ignored, because there is only one export. */
export function decodeOption(received: Received): OptionRequest | undefined {
  const header = received.peek(16);
  if (header === undefined) return undefined;
  if (header.readBigUInt64BE(0) !== optionMagic) throw new Error("NBD: option without its magic");
  const whole = received.take(16 + header.readUInt32BE(12));
  return whole && { option: whole.readUInt32BE(8) };
}

export function encodeOptionReply(
  to: number,
  type: number,
  data: Buffer = Buffer.alloc(0),
): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeBigUInt64BE(optionReplyMagic, 0);
  bytes.writeUInt32BE(to, 8);
  bytes.writeUInt32BE(type, 12);
  bytes.writeUInt32BE(data.length, 16);
  return Buffer.concat([bytes, data]);
}

/** The answer to EXPORT_NAME, which ends the handshake of the old protocol. */
export function encodeExport(sizeBytes: number, padding: boolean): Buffer {
  return Buffer.concat([encodeExportInfo(sizeBytes).subarray(2), Buffer.alloc(padding ? 124 : 0)]);
}

/** NBD_INFO_EXPORT: the size of the disk, and that it has a write cache to flush. */
export function encodeExportInfo(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(0, 0);
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 2);
  bytes.writeUInt16BE(hasFlags | sendFlush | sendFua | sendWriteZeroes, 10);
  return bytes;
}

/** One request of the transmission phase; undefined until all of it, data included, has arrived. */
export function decodeRequest(received: Received): Request | undefined {
  const header = received.peek(28);
  if (header === undefined) return undefined;
  if (header.readUInt32BE(0) !== requestMagic) throw new Error("NBD: request without its magic");
  const length = header.readUInt32BE(24);
  const hasData = header.readUInt16BE(6) === command.write;
  const whole = received.take(hasData ? 28 + length : 28);
  return (
    whole && {
      command: whole.readUInt16BE(6),
      fua: (whole.readUInt16BE(4) & fuaFlag) !== 0,
      cookie: whole.readBigUInt64BE(8),
      offset: Number(whole.readBigUInt64BE(16)),
      length,
      data: whole.subarray(28),
    }
  );
}

export function encodeReply(cookie: bigint, code: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(simpleReplyMagic, 0);
  bytes.writeUInt32BE(code, 4);
  bytes.writeBigUInt64BE(cookie, 8);
  return bytes;
}
