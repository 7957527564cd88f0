/**
 * Reads a message off the wire for message-transfer.ts: finds its end, and removes the dots that
 * the client put in front of lines.
 *
 * Invariant: only CRLF.CRLF ends a message (at its very start .CRLF), and the result does not
 * depend on how the bytes were cut into chunks. A dot after a bare CR or LF is text.
 *
 * @see RFC 5321 §4.1.1.4 (the end), §4.5.2 (the dots)
 */
import { Buffer } from "node:buffer";

interface MessageText {
  /** Bytes of the message, perhaps none. */
  readonly text: Buffer;
  /** The input after the end of the message; absent until the end is found. */
  readonly rest?: Buffer | undefined;
}

const CR = 13;
const LF = 10;
const newline = Buffer.from("\r\n");
const newlineDot = Buffer.from("\r\n.");
const nothing: Buffer = Buffer.alloc(0);

export class DotReader {
  /**
   * Bytes at the end of the input whose meaning the next chunk decides: a newline, a dot to remove,
   * or the end of the message. It starts as a newline, because the first line begins like any
   * other; that newline is not part of the message.
   */
  #held: Buffer = newline;
  #isFirst = true;

  /**
   * Takes the next bytes. The reader owns `chunk` from now on and compacts the message in place.
   */
  read(chunk: Buffer): MessageText {
    const input = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    let filled = 0; // Bytes of the message, compacted at the front of `input`.
    let start = 0; // Start of the bytes that are not yet compacted.
    const compactUpTo = (end: number) => {
      if (filled !== start) input.copy(input, filled, start, end);
      filled += end - start;
    };
    for (;;) {
      const at = input.indexOf(newlineDot, start);
      if (at < 0) break;
      const behind = at + newlineDot.length;
      if (isOpen(input, behind)) {
        compactUpTo(at);
        return this.#hold(input, filled, at);
      }
      compactUpTo(at + newline.length);
      start = behind;
      if (input[behind] === CR && input[behind + 1] === LF) {
        return { text: this.#give(input, filled), rest: input.subarray(behind + newline.length) };
      }
    }
    const end = input.length - lengthOfOpenNewline(input);
    compactUpTo(end);
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

/** Whether more bytes are needed to know what the dot in front of `behind` means. */
function isOpen(input: Buffer, behind: number): boolean {
  const left = input.length - behind;
  return left === 0 || (left === 1 && input[behind] === CR);
}

/** Number of bytes at the end that may begin a newline and a dot. */
function lengthOfOpenNewline(input: Buffer): number {
  const last = input[input.length - 1];
  if (last === CR) return 1;
  return last === LF && input[input.length - 2] === CR ? 2 : 0;
}
