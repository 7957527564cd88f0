/**
 * A message on its way to the server: piece by piece as fast as they are taken, then the gate, then the
 * final dot.
 *
 * Once it is cut off nothing more of it is written, least of all the dot. nodemailer takes it for a
 * stream: it calls `pipe` once, after the 354, and ends the message with its dot when what it piped to ends.
 */
import type { Writable } from "node:stream";
import type { Message } from "../../mail/index.ts";

export interface BodySteps {
  /** A piece is about to be written. */
  readonly onPiece: () => void;
  /** All pieces are written; a rejection keeps the dot back. */
  readonly beforeDot: () => Promise<void>;
  /** The dot is about to be written. */
  readonly onDot: () => void;
  /** It ended before the dot. */
  readonly onFailure: (error: unknown) => void;
}

/** Octets written at a time. */
const pieceBytes = 65_536;

export class MessageBody {
  readonly #message: Message;
  readonly #steps: BodySteps;
  #isCut = false;
  #wake: (() => void) | undefined;

  constructor(message: Message, steps: BodySteps) {
    this.#message = message;
    this.#steps = steps;
  }

  /** Begins to write. */
  pipe(wire: Writable): Writable {
    void this.#write(wire);
    return wire;
  }

  /** Writes nothing more from now on. */
  cut(): void {
    this.#isCut = true;
    this.#wake?.();
  }

  async #write(wire: Writable): Promise<void> {
    const { onPiece, beforeDot, onDot, onFailure } = this.#steps;
    try {
      onPiece();
      if (this.#message.file === undefined) {
        const bytes = await this.#message.bytes();
        for (let at = 0; at < bytes.length && !this.#isCut; at += pieceBytes) {
          onPiece();
          if (!wire.write(bytes.subarray(at, at + pieceBytes))) await this.#drained(wire);
        }
      } else {
        for await (const piece of this.#message.stream()) {
          if (this.#isCut) return;
          onPiece();
          if (!wire.write(piece)) await this.#drained(wire);
        }
      }
      if (this.#isCut) return;
      await beforeDot();
      if (this.#isCut) return;
      onDot();
      wire.end();
    } catch (error) {
      if (!this.#isCut) onFailure(error);
    }
  }

  #drained(wire: Writable): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      wire.once("drain", resolve);
    });
  }
}
