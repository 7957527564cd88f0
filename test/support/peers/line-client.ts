/**
 * A raw socket that sends text and reads lines, for dialogues that no mail library allows. Used by
 * SmtpSender and ImapClient; the client of in-process servers is support/mail-client.ts.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

export class LineClient {
  readonly #socket: Socket;
  #received = "";
  #hasEnded = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.#received += text;
      this.#wake();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#hasEnded = true;
      this.#wake();
    });
  }

  static async connect(port: number): Promise<LineClient> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new LineClient(socket);
  }

  /** Sends bytes as they are. */
  send(text: string): void {
    this.#socket.write(text, "latin1");
  }

  /** The next line without its CRLF or LF; rejects when the other side has closed. */
  async line(): Promise<string> {
    const end = await this.#waitFor(() => this.#received.indexOf("\n"));
    const line = this.#received.slice(0, end).replace(/\r$/, "");
    this.#received = this.#received.slice(end + 1);
    return line;
  }

  /** The next `count` bytes, such as an IMAP literal. */
  async bytes(count: number): Promise<string> {
    await this.#waitFor(() => (this.#received.length >= count ? count : -1));
    const bytes = this.#received.slice(0, count);
    this.#received = this.#received.slice(count);
    return bytes;
  }

  /** One SMTP reply: all its lines, joined. */
  async reply(): Promise<string> {
    const lines: string[] = [];
    do lines.push(await this.line());
    while (lines.at(-1)?.[3] === "-");
    return lines.join("\n");
  }

  /** Sends a command and waits for its SMTP reply. */
  async ask(command: string): Promise<string> {
    this.send(`${command}\r\n`);
    return this.reply();
  }

  /** Waits until the other side closes; returns all input that was not yet read. */
  async rest(): Promise<string> {
    while (!this.#hasEnded) await this.#change();
    return this.#received;
  }

  close(): void {
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #waitFor(position: () => number): Promise<number> {
    while (position() < 0) {
      if (this.#hasEnded) throw new Error(`closed by the other side after ${this.#received}`);
      await this.#change();
    }
    return position();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
