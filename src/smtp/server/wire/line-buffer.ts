/**
 * Input of a client that is not yet processed: chunks go in, whole command lines come out. Pure.
 *
 * A command line may end in LF alone. The limit of a line counts the bytes in front of its LF.
 */
import { Buffer } from "node:buffer";

const CR = 13;
const LF = 10;
const nothing: Buffer = Buffer.alloc(0);

export class LineBuffer {
  readonly #maxLineBytes: number;
  #held = nothing;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** Bytes held. */
  get length(): number {
    return this.#held.length;
  }

  /** Whether the first line, complete or not, is longer than the limit. */
  get isLineTooLong(): boolean {
    const end = this.#held.indexOf(LF);
    return (end < 0 ? this.#held.length : end) > this.#maxLineBytes;
  }

  push(chunk: Buffer): void {
    this.#held = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
  }

  /** Takes the first line, without its end; `undefined` when it is incomplete or too long. */
  takeLine(): string | undefined {
    const held = this.#held;
    const end = held.indexOf(LF);
    if (end < 0 || end > this.#maxLineBytes) return undefined;
    this.#held = end + 1 === held.length ? nothing : held.subarray(end + 1);
    return held.toString("utf8", 0, end > 0 && held[end - 1] === CR ? end - 1 : end);
  }

  /** Takes all held bytes. */
  takeAll(): Buffer {
    const all = this.#held;
    this.#held = nothing;
    return all;
  }
}
