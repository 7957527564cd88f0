/** An SMTP and LMTP client that sends one line at a time, so that a test sees every reply. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

export class Client {
  /** The greeting of the server; `undefined` when the server closed the connection instead. */
  greeting: string | undefined;
  readonly #socket: Socket;
  #received = "";
  #ended = false;
  #wake: () => void = () => {};

  static async open(port: number): Promise<Client> {
    const socket = connect({ host: "127.0.0.1", port });
    await once(socket, "connect");
    const client = new Client(socket);
    client.greeting = await client.reply();
    return client;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => {
      this.#received += text;
      this.#wake();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /**
   * Waits for a complete reply; returns its last line, or `undefined` when the connection ended.
   */
  async reply(): Promise<string | undefined> {
    for (;;) {
      const match = /^(?:\d{3}-.*\r\n)*(\d{3} .*)\r\n/.exec(this.#received);
      if (match) {
        this.#received = this.#received.slice(match[0].length);
        return match[1];
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /**
   * Sends EHLO or LHLO, MAIL, RCPT and DATA until a command is refused. Returns the last reply: 354
   * or the refusal.
   */
  async begin(from = "sender@example.org", to = "you@localhost"): Promise<string | undefined> {
    const hello = / LMTP/.test(this.greeting ?? "") ? "LHLO test" : "EHLO test";
    let reply: string | undefined;
    for (const line of [hello, `MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, "DATA"]) {
      reply = await this.ask(line);
      if (reply === undefined || !/^[23]/.test(reply)) return reply;
    }
    return reply;
  }

  /** Sends the message and its final dot, and returns the first reply. */
  finish(message: string): Promise<string | undefined> {
    this.send(`${message.replaceAll("\n", "\r\n")}\r\n.\r\n`);
    return this.reply();
  }

  /** Sends a line and returns the last line of the reply. */
  async ask(line: string): Promise<string | undefined> {
    this.send(`${line}\r\n`);
    return this.reply();
  }

  send(text: string): void {
    if (!this.#socket.destroyed) this.#socket.write(text);
  }

  end(): void {
    this.#socket.destroy();
  }
}

/**
 * Sends one message in its own session; returns the reply to the final dot, or that to the command
 * that was refused before.
 */
export async function sendMessage(
  port: number,
  message: string,
  { from = "sender@example.org", to = "you@localhost" } = {},
): Promise<string | undefined> {
  const client = await Client.open(port);
  try {
    const reply = await client.begin(from, to);
    return /^354/.test(reply ?? "") ? await client.finish(message) : reply;
  } finally {
    client.end();
  }
}
