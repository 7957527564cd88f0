/**
 * What every record says beside its payload: all the log knows of itself when the record was written.
 *
 * Because each record says everything, the newest valid one is enough: nothing has to be pieced together
 * from records that may have been lost. It lists the older segments that may still hold something needed,
 * and how much of each counts. What is not listed is free; what is listed and not found is damage; what
 * lies behind the listed end is void, which is how a frame whose write failed is aborted.
 */
import type { Lsn } from "./format.ts";

/** How far a volume (one mail file system) has come. */
export interface Marks {
  /** Records up to this number are staged on the volume, data and names. */
  readonly durable: Lsn;
  /** Records up to this number are published, and the log need not keep them for this volume. */
  readonly published: Lsn;
}

export interface ListedSegment {
  readonly generation: bigint;
  /** This many records are known to be on the disk. */
  readonly sure: number;
  /** Records from this count on are void, whatever is found there. */
  readonly end: number;
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

/** Longest name of a volume, in octets of UTF-8. */
export const maxVolumeBytes = 255;

export function encodeInfo(info: Info): Buffer {
  const marks = [...info.marks].map(([volume, { durable, published }]) =>
    Buffer.concat([shortText(volume), lsnBytes(durable), lsnBytes(published)]),
  );
  const listed = info.listed.map(({ generation, sure, end }) => {
    const entry = Buffer.alloc(16);
    entry.writeBigUInt64BE(generation);
    entry.writeUInt32BE(sure, 8);
    entry.writeUInt32BE(end, 12);
    return entry;
  });
  const fixed = Buffer.alloc(30);
  fixed.write(info.id, "hex");
  fixed.writeBigUInt64BE(info.starts, 16);
  fixed.writeUInt16BE(marks.length, 24);
  fixed.writeUInt16BE(listed.length, 26);
  fixed.writeUInt16BE(info.volumes.length, 28);
  return Buffer.concat([fixed, ...marks, ...listed, ...info.volumes.map(shortText)]);
}

/** Reads what {@link encodeInfo} wrote; only called on octets whose checksum is right. */
export function decodeInfo(bytes: Buffer): Info {
  let at = 30;
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
      sure: bytes.readUInt32BE(at + 8),
      end: bytes.readUInt32BE(at + 12),
    });
    at += 16;
  }
  const volumes: string[] = [];
  for (let left = bytes.readUInt16BE(28); left > 0; left -= 1) volumes.push(text());
  const id = bytes.toString("hex", 0, 16);
  return { id, starts: bytes.readBigUInt64BE(16), marks, listed, volumes };

  function text(): string {
    const end = at + 1 + bytes[at]!;
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

/** Joins two accounts of the same volume; a mark never goes back. */
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
