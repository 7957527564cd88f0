/** An SMTP and LMTP sender over raw sockets: one transaction at a time, all replies returned. */
import { LineClient } from "./line-client.ts";

export interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  /** With CRLF line ends, without the final dot. */
  readonly text: string;
}

/** The replies to the message: one over SMTP, over LMTP one for each accepted recipient. */
export type Replies = readonly string[];

export class SmtpSender {
  readonly #lines: LineClient;
  readonly #protocol: "smtp" | "lmtp";

  private constructor(lines: LineClient, protocol: "smtp" | "lmtp") {
    this.#lines = lines;
    this.#protocol = protocol;
  }

  static async connect(port: number, protocol: "smtp" | "lmtp" = "smtp"): Promise<SmtpSender> {
    const lines = await LineClient.connect(port);
    await lines.reply();
    await lines.ask(`${protocol === "lmtp" ? "LHLO" : "EHLO"} client.test`);
    return new SmtpSender(lines, protocol);
  }

  /** Sends one message; rejects when the connection is lost before its last reply. */
  async send({ from, to, text }: Mail): Promise<Replies> {
    await this.#lines.ask(`MAIL FROM:<${from}>`);
    let accepted = 0;
    for (const address of to) {
      const reply = await this.#lines.ask(`RCPT TO:<${address}>`);
      if (reply.startsWith("250")) accepted += 1;
    }
    await this.#lines.ask("DATA");
    this.#lines.send(`${text.replace(/^\./gm, "..")}${text.endsWith("\r\n") ? "" : "\r\n"}.\r\n`);
    const replies: string[] = [];
    for (let count = this.#protocol === "lmtp" ? accepted : 1; count > 0; count--) {
      replies.push(await this.#lines.reply());
    }
    return replies;
  }

  close(): void {
    this.#lines.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Sends all mails over several connections; returns those whose replies were all 250. */
export async function sendAll(port: number, mails: readonly Mail[], connections = 8) {
  const waiting = [...mails];
  const accepted: Mail[] = [];
  await Promise.all(
    Array.from({ length: connections }, async () => {
      using sender = await SmtpSender.connect(port);
      for (let mail = waiting.shift(); mail !== undefined; mail = waiting.shift()) {
        const replies = await sender.send(mail);
        if (replies.every((reply) => reply.startsWith("250"))) accepted.push(mail);
      }
    }),
  );
  return accepted;
}

/** Makes a message with `id` in a field and in the body; `id` decides the length of the body. */
export function mailNumber(id: string, from: string, to: readonly string[]): Mail {
  const seed = [...id].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) >>> 0, 7);
  const lines = Array.from(
    { length: 3 + (seed % 40) },
    (_, line) =>
      `${line % 7 === 3 ? "." : ""}${id} line ${line} ${"x".repeat((seed >>> line) % 60)}`,
  );
  const header = [
    `From: <${from}>`,
    `To: <${to[0]}>`,
    `Subject: ${id}`,
    `X-Test-Id: ${id}`,
    `Message-ID: <${id}@client.test>`,
    "Date: Mon, 01 Jan 2024 00:00:00 +0000",
  ];
  return { from, to, text: `${[...header, "", ...lines].join("\r\n")}\r\n` };
}

/** The body of a mail as Postbag stores it, with LF line ends. */
export function storedBody({ text }: Mail): string {
  return text.slice(text.indexOf("\r\n\r\n") + 4).replaceAll("\r\n", "\n");
}
