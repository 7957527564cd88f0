/**
 * Decides what a log holds, from the scans of its segments: a plain function, no disk.
 *
 * The newest valid record says which segments count and how much of each; the others are held against
 * it. A copy of a frame stands for the frame, the higher generation wins. Nothing is guessed: what is
 * missing or out of place is reported as damage, and the rest is recovered all the same.
 *
 * Source: docs/explanation/durability.md.
 */
import type { Lsn } from "./format.ts";
import { type Info, isFinished, laterMarks, type Marks } from "./info.ts";
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
  /** This many records are known to be on the disk. */
  readonly sure: number;
  /** Records from this count on are void. */
  readonly end: number;
  /** Its frames that some volume still needs. */
  readonly frames: readonly FoundFrame[];
  /** Its last valid record, if that is a frame still needed: it may be in the page cache only. */
  readonly doubtful: FoundFrame | undefined;
  readonly isDamaged: boolean;
}

export interface Replay {
  readonly id: string | undefined;
  readonly starts: bigint;
  readonly marks: ReadonlyMap<string, Marks>;
  /** Frames some volume still needs, by number, each once. */
  readonly frames: readonly FoundFrame[];
  readonly live: readonly LiveSegment[];
  /** Segments that hold nothing, whatever of the newest records reaches the disk. */
  readonly free: readonly string[];
  /** Segments that hold nothing according to the newest record, which may be in the page cache only. */
  readonly freed: readonly string[];
  /** Listed segments that were not found. */
  readonly missing: readonly bigint[];
  readonly highestGeneration: bigint;
  /** The highest number that was ever given out, as far as can be told. */
  readonly highestLsn: Lsn;
  readonly damage: readonly string[];
}

type Readable = FoundSegment & { readonly scan: Extract<SegmentScan, { state: "segment" }> };
type Blank = FoundSegment & { readonly scan: Extract<SegmentScan, { state: "blank" }> };

/** Stray heads are not protected by random bits: a number far beyond the newest is an invention. */
const believableGenerations = 1n << 20n;

export function replay(found: readonly FoundSegment[]): Replay {
  const segments = found
    .filter((segment): segment is Readable => segment.scan.state === "segment")
    .sort((a, b) => (generation(a) < generation(b) ? -1 : 1));
  const blanks = found.filter((segment): segment is Blank => segment.scan.state === "blank");
  const newest = segments.at(-1);
  const state = newest?.scan.newest;
  const damage: string[] = [];

  const own = segments.filter((segment) => {
    const isOwn = segment.scan.newest.id === state?.id;
    if (!isOwn)
      damage.push(`${segment.name} belongs to another journal, ${segment.scan.newest.id}`);
    return isOwn;
  });
  const twins = own.filter(
    (segment, index) => generation(segment) === (own[index + 1] && generation(own[index + 1]!)),
  );
  for (const { name } of twins) damage.push(`${name} has the generation of another segment`);

  const marks = new Map<string, Marks>();
  for (const { scan } of own) {
    for (const [volume, each] of scan.newest.marks) {
      marks.set(volume, laterMarks(marks.get(volume), each));
    }
  }
  const live = own.filter(isListed).map((segment) => liveSegment(segment));
  // One of which nothing is sure may have been read from the page cache when it was listed.
  const missing = (state?.listed ?? [])
    .filter((listed) => listed.sure > 0)
    .map((listed) => listed.generation)
    .filter((wanted) => !live.some((segment) => segment.generation === wanted));
  for (const wanted of missing)
    damage.push(`the segment of generation ${wanted} is missing or unreadable`);

  const strays = blanks.filter(({ scan }) => scan.strays.some(isNews));
  for (const { name } of strays) damage.push(`${name} has lost its header, with frames behind it`);
  const strayGenerations = strays.flatMap(({ scan }) =>
    scan.strays.filter(isNews).map((head) => head.generation),
  );

  const unlisted = own.filter((segment) => !isListed(segment));
  const sure = sureInfo(own);
  const isFree = (segment: Readable) =>
    sure !== undefined &&
    generation(segment) < sure.generation &&
    !sure.info.listed.some((listed) => listed.generation === generation(segment));
  const frames = joined(live.flatMap((segment) => segment.frames));
  return {
    id: state?.id,
    starts: state?.starts ?? 0n,
    marks,
    frames,
    live,
    free: [...blanks.filter((blank) => !strays.includes(blank)), ...unlisted.filter(isFree)].map(
      ({ name }) => name,
    ),
    freed: unlisted.filter((segment) => !isFree(segment)).map(({ name }) => name),
    missing,
    highestGeneration: highest([...segments.map(generation), ...strayGenerations]),
    highestLsn: highest([
      ...own.flatMap(({ scan }) => scan.records.slice(-1).map(({ lsn }) => lsn)),
      ...frames.slice(-1).map(({ lsn }) => lsn),
      ...[...marks.values()].map(({ durable }) => durable),
    ]),
    damage,
  };

  function isListed(segment: Readable): boolean {
    return segment === newest || limits(segment) !== undefined;
  }

  function limits(segment: Readable): { sure: number; end: number } | undefined {
    return state?.listed.find((listed) => listed.generation === generation(segment));
  }

  /** Frames of a newer generation than any that can be read were acknowledged, and cannot be read. */
  function isNews(head: { readonly generation: bigint }): boolean {
    const known = newest === undefined ? 0n : generation(newest);
    return head.generation > known && head.generation <= known + believableGenerations;
  }

  function liveSegment(segment: Readable): LiveSegment {
    const { name, bytes, scan } = segment;
    const first = scan.header.count;
    const { sure: wanted, end } = limits(segment) ?? { sure: first, end: Number.POSITIVE_INFINITY };
    const records = scan.records.filter(({ count }) => count < end);
    const holes = scan.holes.filter(([from]) => from < end);
    for (const [from, to] of holes) {
      damage.push(`${name} lacks records ${from} to ${to - 1}, with valid ones behind them`);
    }
    const found = (records.at(-1)?.count ?? first - 1) + 1;
    if (found < wanted) damage.push(`${name} lacks records ${found} to ${wanted - 1} at its end`);
    const frames = records
      .filter(({ kind, lsn, volumes }) => kind === "frame" && !isFinished(marks, volumes, lsn))
      .map((record) => ({ ...record, segment: name }));
    const last = frames.at(-1);
    return {
      name,
      generation: generation(segment),
      bytes,
      // The last write before a kill may have reached the page cache only.
      sure: Math.max(wanted, found - 1),
      end: found,
      frames,
      doubtful: last && last.count === records.at(-1)?.count ? last : undefined,
      isDamaged: holes.length > 0 || found < wanted,
    };
  }
}

function generation(segment: Readable): bigint {
  return segment.scan.header.generation;
}

/** What the log said of itself one record ago: written before the newest was begun, so on the disk. */
function sureInfo(
  segments: readonly Readable[],
): { readonly generation: bigint; readonly info: Info } | undefined {
  const known = segments.findLast(({ scan }) => scan.sure !== undefined);
  return known && { generation: generation(known), info: known.scan.sure! };
}

/** Each frame once, by number; of two with one number the later written. */
function joined(frames: readonly FoundFrame[]): readonly FoundFrame[] {
  const byLsn = new Map(frames.map((frame) => [frame.lsn, frame]));
  return [...byLsn.values()].sort((a, b) => (a.lsn < b.lsn ? -1 : 1));
}

function highest(values: readonly bigint[]): bigint {
  let most = 0n;
  for (const value of values) if (value > most) most = value;
  return most;
}
