/**
 * One client of the load generator: it sends one message after another over SMTP or LMTP and waits for
 * every reply before it goes on.
 *
 * It does as little per message as it can, because on two cores what it takes the server does not get:
 * one reused read buffer, commands encoded once, replies told from their last line only (RFC 5321 §4.2:
 * a space, not a hyphen, behind the code of the last line) and read as octets.
 */
import { connect, type Socket } from "node:net";

type Step = "greeting" | "hello" | "mail" | "rcpt" | "data" | "message" | "quit";

/** The first digit of the reply that lets the dialogue go on. */
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
  /** The RCPT command of the next message. */
  readonly nextRcpt: () => Buffer;
  /** The message as it goes on the wire, with its final dot. */
  readonly message: Buffer;
  /** Sends all messages on one connection instead of a new one for each. */
  readonly keep: boolean;
  /** Says whether to send another message. */
  readonly mayStart: () => boolean;
  /** Called at the 250 that takes responsibility for a message, with its RCPT command. */
  readonly onAccepted: (rcpt: Buffer) => void;
  /** Called with the time from connect (kept: MAIL) to the reply to QUIT (kept: to the message). */
  readonly onSent: (latencyMs: number) => void;
  readonly onError: (why: string) => void;
  readonly onEnd: () => void;
}

export class LoadClient {
  readonly #options: ClientOptions;
  readonly #buffer = Buffer.allocUnsafe(4096);
  #socket: Socket | undefined;
  #step: Step = "greeting";
  /** What arrived of a reply whose end did not. */
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

  /** A reply that comes in pieces. */
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
    // A server that refuses at once must not be called again within the same turn for ever.
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
