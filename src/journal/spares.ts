/**
 * The spare segments: made one at a time, ahead of need, while frames are written elsewhere.
 */
import type { SegmentFile, SegmentFiles } from "./segment-files.ts";

export class Spares {
  readonly #files: SegmentFiles;
  readonly #onMade: () => void;
  readonly #ready: SegmentFile[] = [];
  #making: Promise<void> | undefined;
  #failure: unknown;

  /** `onMade` is called whenever a spare has been made, or could not be. */
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

  /** Why the last attempt to make one failed; `undefined` if it did not, or is to be tried again. */
  get failure(): unknown {
    return this.#failure;
  }

  take(): SegmentFile {
    return this.#ready.shift()!;
  }

  add(file: SegmentFile): void {
    this.#ready.push(file);
  }

  /** Makes one, or waits for the one that is being made; what failed is told by {@link failure}. */
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
