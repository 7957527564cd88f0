/**
 * Writes a message to the server, piece by piece at the server's pace, then calls `beforeDot`, then
 * ends the stream, whereupon nodemailer writes the final dot.
 *
 * Invariant: after `stop()` nothing more is written, least of all the dot. nodemailer uses a
 * MessageBody as a stream: it calls `pipe` once, after the 354.
 */
import type { Writable } from "node:stream";
import type { Message } from "../../mail/index.ts";

interface MessageBodyCallbacks {
  /** Before each piece is written. */
  readonly onPiece: () => void;
  /** Called after the last piece, awaited; a rejection prevents the dot. */
  readonly beforeDot: () => Promise<void>;
  /** Before the dot is written. */
  readonly onDot: () => void;
  /** Reading the message or `beforeDot` failed; no dot is written. */
  readonly onFailure: (error: unknown) => void;
}

/** Bytes written at a time. */
const pieceBytes = 65_536;

export class MessageBody {
  readonly #message: Message;
  readonly #callbacks: MessageBodyCallbacks;
  #isStopped = false;
  #wake: (() => void) | undefined;

  constructor(message: Message, callbacks: MessageBodyCallbacks) {
    this.#message = message;
    this.#callbacks = callbacks;
  }

  /** Begins to write; called by nodemailer. */
  pipe(wire: Writable): Writable {
    void this.#write(wire);
    return wire;
  }

  /** Stops at once: no further piece and no dot is written. */
  stop(): void {
    this.#isStopped = true;
    this.#wake?.();
  }

  async #write(wire: Writable): Promise<void> {
    const { onPiece, beforeDot, onDot, onFailure } = this.#callbacks;
    try {
      onPiece();
      if (this.#message.file === undefined) {
        const bytes = await this.#message.bytes();
        for (let at = 0; at < bytes.length && !this.#isStopped; at += pieceBytes) {
          onPiece();
          if (!wire.write(bytes.subarray(at, at + pieceBytes))) await this.#drained(wire);
        }
      } else {
        for await (const piece of this.#message.stream()) {
          if (this.#isStopped) return;
          onPiece();
          if (!wire.write(piece)) await this.#drained(wire);
        }
      }
      if (this.#isStopped) return;
      await beforeDot();
      if (this.#isStopped) return;
      onDot();
      wire.end();
    } catch (error) {
      if (!this.#isStopped) onFailure(error);
    }
  }

  #drained(wire: Writable): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      wire.once("drain", resolve);
    });
  }
}
