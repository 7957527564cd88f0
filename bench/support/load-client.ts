/**
 * One client of the load generator (load-worker.ts): sends one message after another over SMTP or
 * LMTP, and waits for the reply to each command.
 *
 * The client uses little processor time for a message, because the server runs on the same cores:
 * it reuses one read buffer, encodes each command once, and reads of a reply only the bytes of the
 * last line (RFC 5321 §4.2: the code of the last line is followed by a space, not a hyphen).
 */
import { connect, type Socket } from "node:net";

type Step = "greeting" | "hello" | "mail" | "rcpt" | "data" | "message" | "quit";

/** The first byte of the reply to each step that lets the session continue: `2` or `3`. */
const wanted: Readonly<Record<Step, number>> = {
  greeting: 0x32,
  hello: 0x32,
  mail: 0x32,
  rcpt: 0x32,
  data: 0x33,
  message: 0x32,
  quit: 0x32,
};

const space = 0x20;
const newline = 0x0a;
const mail = Buffer.from("MAIL FROM:<sender@bench.local>\r\n");
const data = Buffer.from("DATA\r\n");
const quit = Buffer.from("QUIT\r\n");

export interface ClientOptions {
  readonly port: number;
  readonly hello: Buffer;
  /** Returns the RCPT command of the next message. */
  readonly nextRcpt: () => Buffer;
  /** The bytes after DATA: the message and its final dot. */
  readonly message: Buffer;
  /** Whether to send all messages on one connection; if not, each has a new connection. */
  readonly keep: boolean;
  /** Called before each message; false ends the client. */
  readonly mayStart: () => boolean;
  /** Called at the 250 to a message, with the RCPT command of that message. */
  readonly onAccepted: (rcpt: Buffer) => void;
  /**
   * Called for each accepted message with its time: from connect to the reply to QUIT; with `keep`
   * from MAIL to the reply to the message.
   */
  readonly onSent: (latencyMs: number) => void;
  /** Called with the reason when a reply was not the wanted one or the connection was lost. */
  readonly onError: (why: string) => void;
  /** Called once, when `mayStart` returned false and the session has ended. */
  readonly onEnd: () => void;
}

export class LoadClient {
  readonly #options: ClientOptions;
  readonly #buffer = Buffer.allocUnsafe(4096);
  #socket: Socket | undefined;
  #step: Step = "greeting";
  /** The received part of a reply that is not complete yet. */
  #rest = "";
  #startedAt = 0;
  #rcpt: Buffer = mail;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  next(): void {
    if (!this.#options.mayStart()) {
      this.#end();
      return;
    }
    this.#startedAt = performance.now();
    if (this.#socket !== undefined) this.#say("mail", mail);
    else this.#connect();
  }

  #connect(): void {
    this.#step = "greeting";
    this.#rest = "";
    const socket = connect({
      port: this.#options.port,
      host: "127.0.0.1",
      noDelay: true,
      onread: { buffer: this.#buffer, callback: (count) => this.#read(count) },
    });
    this.#socket = socket;
    const ifCurrent = (why: string) => this.#socket === socket && this.#fail(why);
    socket.on("error", (cause) => ifCurrent(cause.message));
    socket.on("end", () => ifCurrent(`closed by the server in answer to ${this.#step}`));
  }

  #say(step: Step, bytes: Buffer): void {
    this.#step = step;
    this.#socket?.write(bytes);
  }

  #read(count: number): boolean {
    const buffer = this.#buffer;
    if (this.#rest !== "" || buffer[count - 1] !== newline) {
      this.#readSlowly(buffer.toString("latin1", 0, count));
      return true;
    }
    const from = count < 2 ? 0 : buffer.lastIndexOf(newline, count - 2) + 1;
    if (buffer[from + 3] === space) this.#reply(buffer, from, count);
    return true;
  }

  /** Reads a reply that arrives in several pieces. */
  #readSlowly(piece: string): void {
    this.#rest += piece;
    if (!this.#rest.endsWith("\n")) return;
    const line = this.#rest.slice(this.#rest.lastIndexOf("\n", this.#rest.length - 2) + 1);
    this.#rest = "";
    if (line[3] === " ") this.#reply(Buffer.from(line, "latin1"), 0, line.length);
  }

  #reply(bytes: Buffer, from: number, to: number): void {
    if (this.#socket === undefined) return;
    if (bytes[from] !== wanted[this.#step]) {
      this.#fail(`${this.#step}: ${bytes.toString("latin1", from, to).trim()}`);
      return;
    }
    const { hello, nextRcpt, message, keep, onAccepted } = this.#options;
    switch (this.#step) {
      case "greeting":
        this.#say("hello", hello);
        break;
      case "hello":
        this.#say("mail", mail);
        break;
      case "mail":
        this.#rcpt = nextRcpt();
        this.#say("rcpt", this.#rcpt);
        break;
      case "rcpt":
        this.#say("data", data);
        break;
      case "data":
        this.#say("message", message);
        break;
      case "message":
        onAccepted(this.#rcpt);
        if (keep) this.#sent();
        else this.#say("quit", quit);
        break;
      case "quit":
        this.#drop();
        this.#sent();
    }
  }

  #sent(): void {
    this.#options.onSent(performance.now() - this.#startedAt);
    this.next();
  }

  #fail(why: string): void {
    this.#drop();
    this.#options.onError(why);
    // The pause lets the event loop turn when a server refuses every connection at once.
    setTimeout(() => this.next(), 10);
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }

  #end(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) this.#options.onEnd();
    else socket.end(quit, this.#options.onEnd);
  }
}
