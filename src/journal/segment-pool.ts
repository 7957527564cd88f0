/**
 * The segments of a log while it is written: takes spares into use, makes new ones ahead of need,
 * uses older ones again or deletes them.
 *
 * Invariants: a spare is made beyond `maxSegments` only when no spare is left, for marks and
 * recovery; new mail leaves one spare. A segment is used again only after a record on the disk no
 * longer lists it.
 */
import { invariant } from "../system/index.ts";
import type { LogState, OlderSegment, OwnSegment } from "./log-state.ts";
import { type Claim, type Place, placeFor, roomForMail, type SegmentSupply } from "./place.ts";
import type { SegmentFile, SegmentFiles } from "./segment-files.ts";

/** Spares made ahead: the reserved one, and one to continue with. */
const wantedSpares = 2;

export class SegmentPool {
  readonly #files: SegmentFiles;
  readonly #state: LogState;
  readonly #maxSegments: number;
  readonly #spares: Spares;

  /** @param onSpare - called when a spare has been made or could not be made. */
  constructor(files: SegmentFiles, state: LogState, maxSegments: number, onSpare: () => void) {
    this.#files = files;
    this.#state = state;
    this.#maxSegments = maxSegments;
    this.#spares = new Spares(files, onSpare);
  }

  /** Segments that count against the limit, the spare that is being made among them. */
  get count(): number {
    return this.#state.segments + this.#spares.count + (this.#spares.isMaking ? 1 : 0);
  }

  get spares(): number {
    return this.#spares.count;
  }

  /** Why the last spare could not be made; `undefined` if it was made, or may be tried again. */
  get failure(): unknown {
    return this.#spares.failure;
  }

  /** Bytes left for frames of new mail. */
  get freeBytes(): number {
    return roomForMail(this.#supply(), this.#state.freshRoom([]));
  }

  placeFor(size: number, claim: Claim): Place {
    return placeFor(size, claim, this.#supply());
  }

  /** The current segment, into which `placeFor` said a record fits. */
  current(): OwnSegment {
    const { current } = this.#state;
    invariant(current, "a record that fits has a current segment");
    return current;
  }

  /** Continues in a spare segment. */
  begin(claim: Claim): OwnSegment {
    const next = this.#state.begin(this.#spares.take());
    invariant(claim !== "mail" || this.#spares.count > 0, "new mail leaves the reserved spare");
    return next;
  }

  /** Makes a spare, or waits for the one that is being made; a failure is in {@link failure}. */
  makeSpare(): Promise<void> {
    invariant(
      this.#spares.isMaking || this.count < this.#maxSegments || this.#spares.count === 0,
      "a spare beyond maxSegments is made only when none is left",
    );
    return this.#spares.make();
  }

  /** Starts to make a spare, if fewer than wanted are ready and the limit allows it. */
  makeAhead(): void {
    if (this.#spares.failure !== undefined || this.#spares.isMaking) return;
    if (this.#spares.count < wantedSpares && this.count < this.#maxSegments) void this.makeSpare();
  }

  /** Allows another attempt to make a spare. */
  forgetFailure(): void {
    this.#spares.forgetFailure();
  }

  /** Uses older segments again or deletes them; a record on the disk no longer lists them. */
  release(gone: readonly OlderSegment[]): void {
    if (gone.length === 0) return;
    this.#state.release(gone);
    for (const { name, file } of gone) {
      if (file && this.count < this.#maxSegments) this.#spares.add(file);
      else this.#files.remove({ name, file: file?.file });
    }
    this.#spares.forgetFailure();
  }

  /**
   * Gives up a segment whose write failed: it is never written or synced again, and deleted when no
   * record in front of the failed write is needed.
   */
  abandon(segment: OwnSegment): void {
    this.#files.close(segment.file.file);
    if (segment.count > 0) {
      this.#state.retire(segment, false);
      return;
    }
    this.#state.current = undefined;
    this.#files.remove({ name: segment.file.name });
  }

  /** Closes every file. */
  async close(): Promise<void> {
    await this.#spares.close();
    const { current, older } = this.#state;
    if (current) this.#files.close(current.file.file);
    for (const { file } of older) if (file) this.#files.close(file.file);
  }

  #supply(): SegmentSupply {
    return {
      roomBytes: this.#state.roomBytes,
      spares: this.#spares.count,
      isMaking: this.#spares.isMaking,
      mayMake: this.#spares.failure === undefined,
      segments: this.count,
      maxSegments: this.#maxSegments,
    };
  }
}

/** The spare segments: made one at a time, ahead of need, while frames are written elsewhere. */
class Spares {
  readonly #files: SegmentFiles;
  readonly #onMade: () => void;
  readonly #ready: SegmentFile[] = [];
  #making: Promise<void> | undefined;
  #failure: unknown;

  /** @param onMade - called when a spare has been made or could not be made. */
  constructor(files: SegmentFiles, onMade: () => void) {
    this.#files = files;
    this.#onMade = onMade;
  }

  get count(): number {
    return this.#ready.length;
  }

  get isMaking(): boolean {
    return this.#making !== undefined;
  }

  /** Why the last spare could not be made; `undefined` if it was made, or may be tried again. */
  get failure(): unknown {
    return this.#failure;
  }

  take(): SegmentFile {
    const spare = this.#ready.shift();
    invariant(spare, "a spare is taken only where one is ready");
    return spare;
  }

  add(file: SegmentFile): void {
    this.#ready.push(file);
  }

  /** Makes a spare, or waits for the one that is being made; a failure is in {@link failure}. */
  make(): Promise<void> {
    this.#making ??= this.#make();
    return this.#making;
  }

  forgetFailure(): void {
    this.#failure = undefined;
  }

  async close(): Promise<void> {
    await this.#making;
    for (const { file } of this.#ready.splice(0)) this.#files.close(file);
  }

  async #make(): Promise<void> {
    try {
      this.#ready.push(await this.#files.make());
    } catch (error) {
      this.#failure = error;
    } finally {
      this.#making = undefined;
      this.#onMade();
    }
  }
}
