/**
 * A small IMAP client for checks of a mailbox: commands with tags, their untagged replies, and
 * whole literals (RFC 3501).
 */
import { LineClient } from "./line-client.ts";

export class ImapClient {
  readonly #lines: LineClient;
  #commands = 0;

  private constructor(lines: LineClient) {
    this.#lines = lines;
  }

  static async login(port: number, user: string): Promise<ImapClient> {
    const client = new ImapClient(await LineClient.connect(port));
    await client.#lines.line();
    await client.ask(`LOGIN "${user}" any`);
    return client;
  }

  /** Sends a command; returns the untagged replies with literals. Rejects unless the end is OK. */
  async ask(command: string): Promise<string[]> {
    this.#commands += 1;
    const tag = `t${this.#commands}`;
    this.#lines.send(`${tag} ${command}\r\n`);
    const replies: string[] = [];
    for (;;) {
      const reply = await this.#response();
      if (!reply.startsWith(`${tag} `)) replies.push(reply);
      else if (reply.startsWith(`${tag} OK`)) return replies;
      else throw new Error(`${command}: ${reply}`);
    }
  }

  async #response(): Promise<string> {
    let whole = await this.#lines.line();
    for (;;) {
      const literal = /\{(\d+)\}$/.exec(whole);
      if (literal === null) return whole;
      whole += `\n${await this.#lines.bytes(Number(literal[1]))}`;
      whole += await this.#lines.line();
    }
  }

  async logout(): Promise<void> {
    await this.ask("LOGOUT");
    this.#lines.close();
  }
}
