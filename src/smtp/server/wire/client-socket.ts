/**
 * The socket of a connection: holds the client's input and the replies that are not yet written.
 *
 * The replies to input that arrived in one piece go out in one write (RFC 2920 §3.2). Invariant: at
 * most `maxHeldBytes` of input are held, plus what one read of the socket returns.
 */
import type { Socket } from "node:net";
import { LineBuffer } from "./line-buffer.ts";

/** Input held while it cannot be processed, in bytes; past it the socket is not read. */
const maxHeldBytes = 64 * 1024;

/** Errors that clients, and the networks between, cause. */
const clientErrors: ReadonlySet<string | undefined> = new Set([
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

export class ClientSocket {
  readonly input: LineBuffer;
  readonly #socket: Socket;
  #output = "";

  /** `onError` receives the errors that neither the client nor the network caused. */
  constructor(socket: Socket, maxLineBytes: number, onError: (error: Error) => void) {
    this.#socket = socket;
    this.input = new LineBuffer(maxLineBytes);
    // A disconnected client is handled on "close", which follows.
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (!clientErrors.has(error.code)) onError(error);
    });
  }

  /** Whether the client reads the replies it has; while it does not, no command is processed. */
  get isDrained(): boolean {
    return !this.#socket.writableNeedDrain;
  }

  /** Whether the client has closed its side. */
  get hasEnded(): boolean {
    return this.#socket.readableEnded;
  }

  /** Adds a reply to the next {@link flush}. */
  queue(lines: string): void {
    this.#output += lines;
  }

  /** Writes the queued replies in one write. */
  flush(): void {
    if (this.#output === "") return;
    this.#socket.write(this.#output);
    this.#output = "";
  }

  /** Reads the socket only while the held input is small. */
  limitInput(): void {
    if (this.input.length > maxHeldBytes) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** Writes the last replies and closes our side. The caller discards input that still arrives. */
  end(lines: string): void {
    this.#socket.end(this.#output + lines);
    this.#socket.resume();
    this.input.takeAll();
  }

  /**
   * Writes the reply to QUIT and closes the socket at once, which saves two system calls and a turn
   * of the event loop. Returns false, with the socket still open, where the reply has not left the
   * process or unread input could make the kernel discard it.
   */
  quit(lines: string): boolean {
    this.queue(lines);
    this.flush();
    if (this.input.length > 0 || this.#socket.writableLength > 0) return false;
    this.destroy();
    return true;
  }

  /** Closes the socket when the last reply is written. */
  destroySoon(): void {
    this.#socket.destroySoon();
  }

  /** Closes the socket at once. */
  destroy(): void {
    this.#socket.destroy();
  }
}
