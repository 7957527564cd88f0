/**
 * The format of one record of the log on the disk, and the check whether bytes found there are one.
 *
 * A segment is a header record, then frames and marks; each starts at a multiple of 4096 and is
 * padded to it with zeros. A record is valid only as a whole: magic, version, two checksums, and
 * the 128 random bits of its segment, drawn anew each time the segment is used. Stale bytes from an
 * earlier use, or a message body that imitates a frame, cannot contain them. Zeros are never valid.
 *
 *     0 magic (8)    8 checksum of 12..79 (4)   12 version (2)   14 kind (2)
 *    16 generation (8)   24 random bits (16)    40 count within the segment (8)
 *    48 lsn: generation (8), count (8)          64 info bytes (4)    68 payload bytes (4)
 *    72 checksum of info and payload (4)        76 zero (4)          80 info, payload, zeros
 *
 * Numbers are big-endian. A later version must keep the first 16 bytes and the length of the head,
 * so that this version can distinguish a later version from damage.
 *
 * Source: docs/explanation/durability.md.
 */
import { crc32 } from "node:zlib";
import { invariant } from "../system/index.ts";

/**
 * The number of a frame (log sequence number): the generation of a segment in the high 64 bits, its
 * count in that segment in the low 64. Later frames have higher numbers; no number is used twice.
 */
export type Lsn = bigint;

export const blockBytes = 4096;
export const headBytes = 80;
export const randomBytesPerSegment = 16;
export const formatVersion = 1;

const magic = Buffer.from("PBAGLOG\n", "latin1");
const kinds = ["header", "frame", "marks"] as const;
export type RecordKind = (typeof kinds)[number];

invariant(
  24 + randomBytesPerSegment === 40 && headBytes === 80,
  "the head has the fields drawn above",
);
invariant(headBytes < blockBytes, "a head lies within one block");

export interface RecordHead {
  readonly kind: RecordKind;
  readonly generation: bigint;
  readonly random: Uint8Array;
  /** Counts the records of a segment from 0; the header has the count of the record behind it. */
  readonly count: number;
  /** The number of the frame; in a copy of an older frame, the number of the original. */
  readonly lsn: Lsn;
  readonly infoBytes: number;
  readonly payloadBytes: number;
}

type ReadRecord =
  | { readonly state: "whole"; readonly head: RecordHead; readonly info: Buffer }
  /** The head is valid, the body is not all there. */
  | { readonly state: "torn"; readonly head: RecordHead }
  | { readonly state: "foreign"; readonly version: number }
  | { readonly state: "none" };

export function lsnOf(generation: bigint, count: number): Lsn {
  return (generation << 64n) | BigInt(count);
}

export function generationOf(lsn: Lsn): bigint {
  return lsn >> 64n;
}

/** Bytes that a record takes in its segment. */
export function recordBytes(infoBytes: number, payloadBytes: number): number {
  return Math.ceil((headBytes + infoBytes + payloadBytes) / blockBytes) * blockBytes;
}

export interface NewRecord {
  readonly kind: RecordKind;
  readonly generation: bigint;
  readonly random: Uint8Array;
  readonly count: number;
  readonly lsn: Lsn;
  readonly info: Uint8Array;
  readonly payload: readonly Uint8Array[];
}

/** Writes a record into `bytes` at `at`, with its padding; returns the bytes it takes. */
export function encodeRecord(bytes: Buffer, at: number, record: NewRecord): number {
  const { info, payload } = record;
  const payloadBytes = lengthOf(payload);
  const size = recordBytes(info.length, payloadBytes);
  const head = bytes.subarray(at, at + headBytes).fill(0);
  let end = at + headBytes;
  for (const part of [info, ...payload]) {
    bytes.set(part, end);
    end += part.length;
  }
  bytes.fill(0, end, at + size);
  head.set(magic, 0);
  head.writeUInt16BE(formatVersion, 12);
  head.writeUInt16BE(1 + kinds.indexOf(record.kind), 14);
  head.writeBigUInt64BE(record.generation, 16);
  head.set(record.random, 24);
  head.writeBigUInt64BE(BigInt(record.count), 40);
  head.writeBigUInt64BE(generationOf(record.lsn), 48);
  head.writeBigUInt64BE(BigInt.asUintN(64, record.lsn), 56);
  head.writeUInt32BE(info.length, 64);
  head.writeUInt32BE(payloadBytes, 68);
  head.writeUInt32BE(crc32(bytes.subarray(at + headBytes, end)), 72);
  head.writeUInt32BE(crc32(head.subarray(12)), 8);
  return size;
}

/** Reads the record at `at`, of whichever segment; see {@link isOfSegment}. */
export function readRecord(bytes: Buffer, at: number): ReadRecord {
  const head = bytes.subarray(at, at + headBytes);
  if (head.length < headBytes || !head.subarray(0, 8).equals(magic)) return { state: "none" };
  if (head.readUInt32BE(8) !== crc32(head.subarray(12))) return { state: "none" };
  const version = head.readUInt16BE(12);
  if (version !== formatVersion) return { state: "foreign", version };
  const kind = kinds[head.readUInt16BE(14) - 1];
  if (kind === undefined) return { state: "none" };
  const infoBytes = head.readUInt32BE(64);
  const payloadBytes = head.readUInt32BE(68);
  const found: RecordHead = {
    kind,
    generation: head.readBigUInt64BE(16),
    random: Buffer.from(head.subarray(24, 40)),
    count: Number(head.readBigUInt64BE(40)),
    lsn: (head.readBigUInt64BE(48) << 64n) | head.readBigUInt64BE(56),
    infoBytes,
    payloadBytes,
  };
  const body = bytes.subarray(at + headBytes, at + headBytes + infoBytes + payloadBytes);
  const isWhole =
    at + recordBytes(infoBytes, payloadBytes) <= bytes.length &&
    crc32(body) === head.readUInt32BE(72);
  return isWhole
    ? { state: "whole", head: found, info: body.subarray(0, infoBytes) }
    : { state: "torn", head: found };
}

/** Whether a record was written into the segment of `header`: same generation, same random bits. */
export function isOfSegment(head: RecordHead, header: RecordHead): boolean {
  return head.generation === header.generation && Buffer.compare(head.random, header.random) === 0;
}

export function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}
