/**
 * Decides what a log contains, from the scans of its segments: a pure function, no disk.
 *
 * The newest valid record says which segments count and how much of each; the other segments are
 * checked against it. A copy of a frame stands for the frame; the higher generation wins. Nothing
 * is guessed: missing or misplaced records are reported as damage, and every other frame is
 * recovered.
 *
 * Source: docs/explanation/durability.md.
 */
import type { Lsn } from "./format.ts";
import { type Info, isFinished, type ListedSegment, laterMarks, type Marks } from "./info.ts";
import type { ScannedRecord, SegmentScan } from "./scan.ts";

export interface FoundSegment {
  readonly name: string;
  readonly bytes: number;
  readonly scan: SegmentScan;
}

export interface FoundFrame extends ScannedRecord {
  /** The segment the payload can be read from. */
  readonly segment: string;
}

export interface LiveSegment {
  readonly name: string;
  readonly generation: bigint;
  readonly bytes: number;
  /** At least this many records are durable. */
  readonly durableCount: number;
  /** Records from this count on are void. */
  readonly endCount: number;
  /** Its frames that some volume still needs. */
  readonly frames: readonly FoundFrame[];
  /** Its last valid record, if that is a frame still needed: it may be in the page cache only. */
  readonly doubtful: FoundFrame | undefined;
  readonly isDamaged: boolean;
}

export interface LogContents {
  readonly id: string | undefined;
  readonly starts: bigint;
  readonly marks: ReadonlyMap<string, Marks>;
  /** Frames that some volume still needs, by number, each once. */
  readonly frames: readonly FoundFrame[];
  readonly live: readonly LiveSegment[];
  /** Segments that contain nothing needed, whichever of the newest records reaches the disk. */
  readonly free: readonly string[];
  /** Segments free according to the newest record, which may be in the page cache only. */
  readonly freed: readonly string[];
  /** Listed segments that were not found. */
  readonly missing: readonly bigint[];
  readonly highestGeneration: bigint;
  /** The highest number ever assigned, as far as the log shows. */
  readonly highestLsn: Lsn;
  readonly damage: readonly string[];
}

type Readable = FoundSegment & { readonly scan: Extract<SegmentScan, { state: "segment" }> };
type Blank = FoundSegment & { readonly scan: Extract<SegmentScan, { state: "blank" }> };

/**
 * Random bits do not protect the heads of records without a segment header: a generation far beyond
 * the newest is invented.
 */
const maxGenerationStep = 1n << 20n;

export function contentsOf(found: readonly FoundSegment[]): LogContents {
  const segments = found
    .filter((segment): segment is Readable => segment.scan.state === "segment")
    .sort((a, b) => (generationOf(a) < generationOf(b) ? -1 : 1));
  const blanks = found.filter((segment): segment is Blank => segment.scan.state === "blank");
  const newest = segments.at(-1);
  const state = newest?.scan.newestInfo;
  const own = segments.filter(({ scan }) => scan.newestInfo.id === state?.id);
  const marks = joinedMarks(own);

  const read = own.flatMap((segment) => {
    const listed = listedIn(segment, state);
    return segment === newest || listed ? [readSegment(segment, listed, marks)] : [];
  });
  const live = read.map((segment) => segment.live);
  const missing = missingFrom(live, state);
  const strays = blanks.filter((blank) => newerHeads(blank, newest).length > 0);
  const unlisted = own.filter((segment) => segment !== newest && !listedIn(segment, state));
  const durable = durableInfo(own);
  const free = unlisted.filter((segment) => isFreeBy(durable, segment));
  const frames = joinedFrames(live.flatMap((segment) => segment.frames));
  return {
    id: state?.id,
    starts: state?.starts ?? 0n,
    marks,
    frames,
    live,
    free: namesOf([...blanks.filter((blank) => !strays.includes(blank)), ...free]),
    freed: namesOf(unlisted.filter((segment) => !free.includes(segment))),
    missing,
    highestGeneration: highest([
      ...segments.map(generationOf),
      ...strays.flatMap((blank) => newerHeads(blank, newest)),
    ]),
    highestLsn: highest([
      ...own.flatMap(({ scan }) => scan.records.slice(-1).map(({ lsn }) => lsn)),
      ...frames.slice(-1).map(({ lsn }) => lsn),
      ...[...marks.values()].map(({ durable: mark }) => mark),
    ]),
    damage: [
      ...foreignDamage(segments, state),
      ...twinDamage(own),
      ...read.flatMap((segment) => segment.damage),
      ...missing.map((wanted) => `the segment of generation ${wanted} is missing or unreadable`),
      ...strays.map(({ name }) => `${name} has no readable header, but frames behind it`),
    ],
  };
}

/**
 * Reads one segment that counts; a segment that the newest record does not list is the newest
 * itself.
 */
function readSegment(
  segment: Readable,
  listed: ListedSegment | undefined,
  marks: ReadonlyMap<string, Marks>,
): { readonly live: LiveSegment; readonly damage: readonly string[] } {
  const { name, bytes, scan } = segment;
  const first = scan.header.count;
  const { durableCount, endCount } = listed ?? {
    durableCount: first,
    endCount: Number.POSITIVE_INFINITY,
  };
  const records = scan.records.filter(({ count }) => count < endCount);
  const holes = scan.holes.filter(([from]) => from < endCount);
  const damage = holes.map(
    ([from, to]) => `${name} lacks records ${from} to ${to - 1}, with valid ones behind them`,
  );
  const found = (records.at(-1)?.count ?? first - 1) + 1;
  const isShort = found < durableCount;
  if (isShort) damage.push(`${name} lacks records ${found} to ${durableCount - 1} at its end`);
  const frames = records
    .filter(({ kind, lsn, volumes }) => kind === "frame" && !isFinished(marks, volumes, lsn))
    .map((record) => ({ ...record, segment: name }));
  const last = frames.at(-1);
  const live = {
    name,
    generation: generationOf(segment),
    bytes,
    // The last write before a kill may have reached the page cache only.
    durableCount: Math.max(durableCount, found - 1),
    endCount: found,
    frames,
    doubtful: last && last.count === records.at(-1)?.count ? last : undefined,
    isDamaged: holes.length > 0 || isShort,
  };
  return { live, damage };
}

function listedIn(segment: Readable, state: Info | undefined): ListedSegment | undefined {
  return state?.listed.find((listed) => listed.generation === generationOf(segment));
}

/**
 * Generations that the newest record lists and that were not found. A segment without a durable
 * record may have been read from the page cache when it was listed.
 */
function missingFrom(live: readonly LiveSegment[], state: Info | undefined): bigint[] {
  return (state?.listed ?? [])
    .filter((listed) => listed.durableCount > 0)
    .map((listed) => listed.generation)
    .filter((wanted) => !live.some(({ generation }) => generation === wanted));
}

/**
 * The generations of records behind a lost header that are newer than every readable segment: their
 * frames were acknowledged and cannot be read.
 */
function newerHeads({ scan }: Blank, newest: Readable | undefined): bigint[] {
  const known = newest === undefined ? 0n : generationOf(newest);
  return scan.strays
    .map(({ generation }) => generation)
    .filter((generation) => generation > known && generation <= known + maxGenerationStep);
}

/** Whether the log said of a segment, in a record that is surely durable, that it is not needed. */
function isFreeBy(
  durable: { readonly generation: bigint; readonly info: Info } | undefined,
  segment: Readable,
): boolean {
  if (durable === undefined || generationOf(segment) >= durable.generation) return false;
  return listedIn(segment, durable.info) === undefined;
}

/** What the log said of itself one record ago: written before the newest was begun, so durable. */
function durableInfo(
  segments: readonly Readable[],
): { readonly generation: bigint; readonly info: Info } | undefined {
  const known = segments.findLast(({ scan }) => scan.durableInfo !== undefined);
  const info = known?.scan.durableInfo;
  return known && info && { generation: generationOf(known), info };
}

function foreignDamage(segments: readonly Readable[], state: Info | undefined): string[] {
  return segments
    .filter(({ scan }) => scan.newestInfo.id !== state?.id)
    .map(({ name, scan }) => `${name} belongs to another journal, ${scan.newestInfo.id}`);
}

/** @param own - sorted by generation. */
function twinDamage(own: readonly Readable[]): string[] {
  return own
    .filter((segment, index) => {
      const next = own[index + 1];
      return next !== undefined && generationOf(segment) === generationOf(next);
    })
    .map(({ name }) => `${name} has the generation of another segment`);
}

function joinedMarks(own: readonly Readable[]): Map<string, Marks> {
  const marks = new Map<string, Marks>();
  for (const { scan } of own) {
    for (const [volume, each] of scan.newestInfo.marks) {
      marks.set(volume, laterMarks(marks.get(volume), each));
    }
  }
  return marks;
}

/** Each frame once, by number; of two with one number the later written. */
function joinedFrames(frames: readonly FoundFrame[]): readonly FoundFrame[] {
  const byLsn = new Map(frames.map((frame) => [frame.lsn, frame]));
  return [...byLsn.values()].sort((a, b) => (a.lsn < b.lsn ? -1 : 1));
}

function generationOf(segment: Readable): bigint {
  return segment.scan.header.generation;
}

function namesOf(segments: readonly FoundSegment[]): string[] {
  return segments.map(({ name }) => name);
}

function highest(values: readonly bigint[]): bigint {
  let max = 0n;
  for (const value of values) if (value > max) max = value;
  return max;
}
