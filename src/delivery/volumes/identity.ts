/**
 * The identity file of a staging directory: which journal the directory belongs to, which volume
 * (file system of mailboxes) it lies on, and at which start of the journal it was last in use.
 *
 * A missing file in staging means "published" only on the volume that the log means. On a volume
 * that is not mounted, or was restored from a backup, the file is missing too; the identity tells
 * these volumes from the right one.
 */
import { join } from "node:path";
import type { FileSystem } from "../../system/index.ts";
import { stagingNames } from "./staging-directories.ts";

/** The content of the identity file in a staging directory. */
interface VolumeIdentity {
  /** The journal's id. */
  readonly journal: string;
  /** The volume's id; `fileSystem` in the file. */
  readonly volume: string;
  /**
   * The journal's start counter, one higher at each opening of the journal. It is written to this
   * file and flushed before the volume is used in that start.
   */
  readonly starts: bigint;
}

/** Path of the identity file. */
export function identityFileIn(staging: string): string {
  return join(staging, stagingNames.identity);
}

/** The text of the identity file. */
export function encodeIdentity({ journal, volume, starts }: VolumeIdentity): string {
  return `${JSON.stringify({ journal, fileSystem: volume, starts: `${starts}` })}\n`;
}

/** Reads a staging directory's identity; `undefined` when the file is missing or not readable. */
export function identityIn(staging: string, fileSystem: FileSystem): VolumeIdentity | undefined {
  try {
    const found = JSON.parse(readSmallFile(identityFileIn(staging), fileSystem));
    const { journal, fileSystem: volume, starts } = found as Record<string, unknown>;
    if (typeof journal !== "string" || typeof volume !== "string") return undefined;
    return { journal, volume, starts: BigInt(String(starts)) };
  } catch {
    return undefined;
  }
}

/**
 * Whether the identity `found` is that of the volume that frames of the log mean, in the state that
 * these frames left or a later one. An older copy of the volume has a lower start counter than the
 * frames (`expected.starts`); a log older than the volume has a lower counter (`journalStarts`)
 * than the identity file.
 */
export function recognises(
  found: VolumeIdentity | undefined,
  expected: VolumeIdentity,
  journalStarts: bigint,
): boolean {
  return (
    found !== undefined &&
    found.journal === expected.journal &&
    found.volume === expected.volume &&
    found.starts >= expected.starts &&
    found.starts <= journalStarts
  );
}

function readSmallFile(path: string, fileSystem: FileSystem): string {
  const file = fileSystem.openForReading(path);
  try {
    const bytes = new Uint8Array(4096);
    return Buffer.from(bytes.subarray(0, fileSystem.read(file, bytes))).toString("utf8");
  } finally {
    fileSystem.close(file);
  }
}
