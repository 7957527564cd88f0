/**
 * Takes a message off the wire: finds its end, and takes away the dots that were put in front of lines.
 *
 * Invariant: only CRLF.CRLF ends a message (at its very start .CRLF), and the result does not depend on
 * how the octets were cut into chunks. A dot behind a bare CR or LF is text.
 *
 * @see RFC 5321 §4.1.1.4 (the end), §4.5.2 (the dots)
 */
import { Buffer } from "node:buffer";

export interface MessageText {
  /** Octets of the message, perhaps none. */
  readonly text: Buffer;
  /** What follows the end of the message; absent while the end has not come. */
  readonly rest?: Buffer;
}

const CR = 13;
const LF = 10;
const newline = Buffer.from("\r\n");
const newlineDot = Buffer.from("\r\n.");
const nothing: Buffer = Buffer.alloc(0);

export class DotReader {
  /**
   * What may turn out to be a line's end, a dot to be taken away or the end, and is held back until more
   * has come. A message begins like any line: behind a newline, which is not part of it.
   */
  #held: Buffer = newline;
  #isFirst = true;

  /** Takes the next octets. They are the reader's from now on, which moves them together. */
  read(chunk: Buffer): MessageText {
    const input = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    let filled = 0; // Octets of the message, moved together at the front of `input`.
    let start = 0; // Where those begin that have not been moved.
    const keepUpTo = (end: number) => {
      if (filled !== start) input.copy(input, filled, start, end);
      filled += end - start;
    };
    for (;;) {
      const at = input.indexOf(newlineDot, start);
      if (at < 0) break;
      const behind = at + newlineDot.length;
      if (isOpen(input, behind)) {
        keepUpTo(at);
        return this.#hold(input, filled, at);
      }
      keepUpTo(at + newline.length);
      start = behind;
      if (input[behind] === CR && input[behind + 1] === LF) {
        return { text: this.#give(input, filled), rest: input.subarray(behind + newline.length) };
      }
    }
    const end = input.length - lengthOfOpenNewline(input);
    keepUpTo(end);
    return this.#hold(input, filled, end);
  }

  #hold(input: Buffer, filled: number, from: number): MessageText {
    this.#held = from === input.length ? nothing : Buffer.from(input.subarray(from));
    return { text: this.#give(input, filled) };
  }

  #give(input: Buffer, filled: number): Buffer {
    if (filled === 0) return nothing;
    const text = input.subarray(this.#isFirst ? newline.length : 0, filled);
    this.#isFirst = false;
    return text;
  }
}

/** Whether it takes more octets to tell what the dot in front of `behind` is. */
function isOpen(input: Buffer, behind: number): boolean {
  const left = input.length - behind;
  return left === 0 || (left === 1 && input[behind] === CR);
}

/** How many octets at the end may be the beginning of a newline and a dot. */
function lengthOfOpenNewline(input: Buffer): number {
  const last = input[input.length - 1];
  if (last === CR) return 1;
  return last === LF && input[input.length - 2] === CR ? 2 : 0;
}
