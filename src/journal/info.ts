/**
 * The info part of every record: the complete state of the log when the record was written.
 *
 * Each record has the whole state, so the newest valid one is enough and nothing depends on records
 * that may have been lost. It lists the older segments that may still be needed, and how much of
 * each counts. A segment not listed is free; a listed one not found is damage. Records behind the
 * listed end are void: this is how a frame whose write failed is aborted.
 */
import type { Lsn } from "./format.ts";

/** The progress of one volume (see docs/explanation/durability.md). */
export interface Marks {
  /** Frames up to this number are durably staged on the volume, data and names. */
  readonly durable: Lsn;
  /** Frames up to this number are published; this volume no longer needs them in the log. */
  readonly published: Lsn;
}

export interface ListedSegment {
  readonly generation: bigint;
  /** At least this many records are durable. */
  readonly durableCount: number;
  /** Records from this count on are void, even if valid ones are found there. */
  readonly endCount: number;
}

export interface Info {
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly starts: bigint;
  readonly marks: ReadonlyMap<string, Marks>;
  readonly listed: readonly ListedSegment[];
  /** The volumes a frame is for. */
  readonly volumes: readonly string[];
}

/** Maximum name of a volume, in bytes of UTF-8: its length is stored in one byte. */
export const maxVolumeBytes = 255;
/** Bytes that one listed segment takes in every record. */
export const listedSegmentBytes = 16;
const fixedBytes = 30;

export function encodeInfo(info: Info): Buffer {
  const marks = [...info.marks].map(([volume, { durable, published }]) =>
    Buffer.concat([shortText(volume), lsnBytes(durable), lsnBytes(published)]),
  );
  const listed = info.listed.map(({ generation, durableCount, endCount }) => {
    const segment = Buffer.alloc(listedSegmentBytes);
    segment.writeBigUInt64BE(generation);
    segment.writeUInt32BE(durableCount, 8);
    segment.writeUInt32BE(endCount, 12);
    return segment;
  });
  const fixed = Buffer.alloc(fixedBytes);
  fixed.write(info.id, "hex");
  fixed.writeBigUInt64BE(info.starts, 16);
  fixed.writeUInt16BE(marks.length, 24);
  fixed.writeUInt16BE(listed.length, 26);
  fixed.writeUInt16BE(info.volumes.length, 28);
  return Buffer.concat([fixed, ...marks, ...listed, ...info.volumes.map(shortText)]);
}

/** Reads the bytes of {@link encodeInfo}; the caller has checked their checksum. */
export function decodeInfo(bytes: Buffer): Info {
  let at = fixedBytes;
  const marks = new Map<string, Marks>();
  for (let left = bytes.readUInt16BE(24); left > 0; left -= 1) {
    const volume = text();
    marks.set(volume, { durable: lsn(), published: lsn() });
  }
  const listed: ListedSegment[] = [];
  for (let left = bytes.readUInt16BE(26); left > 0; left -= 1) {
    const generation = bytes.readBigUInt64BE(at);
    listed.push({
      generation,
      durableCount: bytes.readUInt32BE(at + 8),
      endCount: bytes.readUInt32BE(at + 12),
    });
    at += listedSegmentBytes;
  }
  const volumes: string[] = [];
  for (let left = bytes.readUInt16BE(28); left > 0; left -= 1) volumes.push(text());
  const id = bytes.toString("hex", 0, 16);
  return { id, starts: bytes.readBigUInt64BE(16), marks, listed, volumes };

  function text(): string {
    const end = at + 1 + bytes.readUInt8(at);
    const found = bytes.toString("utf8", at + 1, end);
    at = end;
    return found;
  }
  function lsn(): Lsn {
    const high = bytes.readBigUInt64BE(at);
    const low = bytes.readBigUInt64BE(at + 8);
    at += 16;
    return (high << 64n) | low;
  }
}

/** Merges two marks of one volume: the later of each; a mark never goes back. */
export function laterMarks(one: Marks | undefined, other: Partial<Marks>): Marks {
  const { durable = 0n, published = 0n } = other;
  return {
    durable: one && one.durable > durable ? one.durable : durable,
    published: one && one.published > published ? one.published : published,
  };
}

/** Whether no volume needs this frame any more. */
export function isFinished(
  marks: ReadonlyMap<string, Marks>,
  volumes: readonly string[],
  lsn: Lsn,
): boolean {
  return volumes.every((volume) => (marks.get(volume)?.published ?? 0n) >= lsn);
}

function shortText(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

function lsnBytes(lsn: Lsn): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(lsn >> 64n);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, lsn), 8);
  return bytes;
}
