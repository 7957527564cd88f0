/**
 * Writes one record of the log: chooses its segment, encodes it, writes it synchronously, and
 * accounts for it. The caller must not start the next write before this one has returned.
 */
import type { FileSystem } from "../system/index.ts";
import { fullError } from "./errors.ts";
import type { Marks } from "./info.ts";
import type { LogState, NewFrame, OwnSegment, Written } from "./log-state.ts";
import type { MarkWaiters } from "./mark-waiters.ts";
import type { SegmentPool } from "./segment-pool.ts";

interface RecordWriterTools {
  readonly fileSystem: FileSystem;
  readonly state: LogState;
  readonly pool: SegmentPool;
  readonly waiters: MarkWaiters;
  /** A spare has become the current segment. */
  readonly onSegmentBegun: () => void;
  /** A record is on the disk; its waiters are resolved after this. */
  readonly onWritten: () => void;
}

export class RecordWriter {
  readonly counts = { writes: 0, frames: 0, writtenBytes: 0, abandonedSegments: 0 };
  /** The marks that are on the disk. */
  #writtenMarks: ReadonlyMap<string, Marks>;
  readonly #tools: RecordWriterTools;

  constructor(tools: RecordWriterTools) {
    this.#tools = tools;
    this.#writtenMarks = new Map(tools.state.marks);
  }

  /** Whether these marks of a volume are on the disk. */
  hasWritten(volume: string, { durable, published }: Marks): boolean {
    const written = this.#writtenMarks.get(volume);
    return written?.durable === durable && written.published === published;
  }

  /**
   * Writes a frame, or with `undefined` the marks alone.
   *
   * @throws JournalError `_FULL` before a byte was written; else the errno error of the write,
   *   whose segment is abandoned and whose marks wait again
   */
  async write(frame: NewFrame | undefined): Promise<Written> {
    const segment = await this.#segmentFor(frame);
    const { fileSystem, state, pool, waiters: all, onWritten } = this.#tools;
    const marks = new Map(state.marks);
    const waiters = all.take();
    const encoded = state.encode(segment, frame);
    const { bytes, lsn, at, infoBytes, gone } = encoded;
    try {
      await fileSystem.writeAt(segment.file.file, bytes, segment.position);
    } catch (error) {
      all.putBack(waiters);
      this.counts.abandonedSegments += 1;
      pool.abandon(segment);
      throw error;
    }
    const where = { lsn, segment: segment.file.name, at: segment.position + at, infoBytes };
    state.written(segment, frame, encoded);
    this.counts.writes += 1;
    this.counts.writtenBytes += bytes.length;
    if (frame) this.counts.frames += 1;
    this.#writtenMarks = marks;
    onWritten();
    pool.release(gone);
    for (const { resolve } of waiters) resolve();
    return where;
  }

  async #segmentFor(frame: NewFrame | undefined): Promise<OwnSegment> {
    const { state, pool, onSegmentBegun } = this.#tools;
    const claim = frame?.claim ?? "must";
    for (;;) {
      const place = pool.placeFor(state.sizeOf(frame), claim);
      if (place === "full") throw fullError(pool.failure);
      if (place === "here") return pool.current();
      if (place === "next") {
        const next = pool.begin(claim);
        onSegmentBegun();
        return next;
      }
      await pool.makeSpare();
    }
  }
}
