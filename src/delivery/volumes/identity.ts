/**
 * The identity file of a staging directory: which journal it belongs to, which volume it lies on,
 * and at which start of the journal it was last in use.
 *
 * A missing file in staging means "published" only on the volume that the log means. A volume that
 * is not mounted, or was restored from a backup, looks the same; the identity tells them apart.
 */
import { join } from "node:path";
import type { FileSystem } from "../../system/index.ts";
import { stagingNames } from "./staging-directories.ts";

/** The content of the identity file in a staging directory. */
interface VolumeIdentity {
  readonly journal: string;
  /** The volume's id; `fileSystem` in the file. */
  readonly volume: string;
  /** The journal's start counter, raised in the file and flushed at each start. */
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
 * Whether this is the volume that frames of the log mean, in the state they left it in or a later
 * one. An older copy has a lower start counter than the frames; a log older than the volume has a
 * lower counter than the file.
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
