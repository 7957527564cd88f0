/**
 * The possible contents of a disk after a power cut, from a recording of its writes and flushes.
 *
 * Invariant: every write that a completed flush covers is on the disk. Of the other writes any
 * subset of the 512-byte sectors may be, in any order: a write cache guarantees no order, and a
 * write in progress may tear between sectors, not inside a sector. A seed chooses the subset. Only
 * a block that the file system assumes to be written whole or not at all is never torn.
 */
import { SeededRandom } from "../seeded-random.ts";
import { SparseBytes } from "./sparse-bytes.ts";

const sectorBytes = 512;
const blockBytes = 4096;

export interface Write {
  /** Arrival of the write, in nanoseconds of the machine's monotonic clock. */
  readonly atNs: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface Flush {
  readonly startedNs: number;
  readonly completedNs: number;
  /** The flush made the writes from index `first` up to but not including `end` durable. */
  readonly first: number;
  readonly end: number;
}

/** All writes and flushes since the disk was new and all zeros, in order of arrival. */
export interface Recording {
  readonly sizeBytes: number;
  readonly writes: readonly Write[];
  readonly flushes: readonly Flush[];
}

/**
 * The part of the unflushed writes that survives: none, all, all up to a write that tears, some
 * whole writes out of order, or some sectors.
 */
export const keeps = ["none", "all", "prefix", "writes", "sectors"] as const;
export type Keep = (typeof keeps)[number];

export interface Cut {
  readonly atNs: number;
  readonly keep: Keep;
  readonly seed: number;
}

export interface Extent {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Whether a block of 4096 bytes at this offset, with these bytes, is never torn. */
export type IsUntorn = (offset: number, bytes: Uint8Array) => boolean;

/**
 * Makes the disk after each cut, earliest cut first: extents in the order in which they apply. The
 * caller reads the extents of a cut before it requests the next cut.
 */
export function* imagesAfter(
  recording: Recording,
  cuts: readonly Cut[],
  isUntorn: IsUntorn = () => false,
): Iterable<{ readonly cut: Cut; readonly extents: Iterable<Extent> }> {
  const durable = new SparseBytes();
  let applied = 0;
  for (const cut of cuts.toSorted((a, b) => a.atNs - b.atNs)) {
    const state = stateAt(recording, cut.atNs);
    for (; applied < state.flushed; applied++) {
      const { offset, bytes } = recording.writes[applied]!;
      durable.write(offset, bytes);
    }
    yield { cut, extents: inTurn(durable.extents(), survivors(recording, state, cut, isUntorn)) };
  }
}

interface State {
  /** Writes received before the instant. */
  readonly received: number;
  /** Number of the received writes that a flush completed by the instant covers. */
  readonly flushed: number;
  /** Indexes of later writes that were durable alone (forced unit access). */
  readonly forced: ReadonlySet<number>;
}

function stateAt({ writes, flushes }: Recording, atNs: number): State {
  const later = writes.findIndex((write) => write.atNs > atNs);
  const done = flushes.filter(({ completedNs }) => completedNs <= atNs);
  return {
    received: later < 0 ? writes.length : later,
    flushed: done.reduce((end, flush) => (flush.first === 0 ? Math.max(end, flush.end) : end), 0),
    forced: new Set(done.filter(({ first }) => first > 0).map(({ first }) => first)),
  };
}

/** The surviving parts of the writes that no completed flush covers. */
function* survivors(
  { writes }: Recording,
  state: State,
  cut: Cut,
  isUntorn: IsUntorn,
): Iterable<Extent> {
  const random = new SeededRandom(cut.seed);
  const pending = state.received - state.flushed;
  const torn = state.flushed + random.below(pending);
  const share = 0.1 + 0.8 * random.next();
  for (let index = state.flushed; index < state.received; index++) {
    const write = writes[index]!;
    if (state.forced.has(index) || cut.keep === "all") yield write;
    else if (cut.keep === "none") continue;
    else if (cut.keep === "writes") {
      if (random.next() < share) yield write;
    } else if (cut.keep === "sectors") yield* someSectors(write, share, random, isUntorn);
    else if (index < torn) yield write;
    else if (index === torn) yield* someSectors(write, share, random, isUntorn);
  }
}

function* someSectors(
  { offset, bytes }: Write,
  share: number,
  random: SeededRandom,
  isUntorn: IsUntorn,
): Iterable<Extent> {
  for (let at = 0, unit: number; at < bytes.length; at += unit) {
    unit = isUntorn(offset + at, bytes.subarray(at)) ? blockBytes : sectorBytes;
    if (random.next() < share) yield { offset: offset + at, bytes: bytes.subarray(at, at + unit) };
  }
}

function* inTurn<T>(...parts: readonly Iterable<T>[]): Iterable<T> {
  for (const part of parts) yield* part;
}

/** The recording of a disk that acknowledges flushes from `fromNs` on without doing them. */
export function ignoringFlushes(recording: Recording, fromNs: number): Recording {
  return {
    ...recording,
    flushes: recording.flushes.filter(({ completedNs }) => completedNs <= fromNs),
  };
}
