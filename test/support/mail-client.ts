/**
 * Postbag's mail server for tests, with a few mailboxes of known behaviour, and a client that sends
 * bytes to a server and reads the replies line by line.
 */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Address,
  addressParts,
  type Deliver,
  delivered,
  type Envelope,
  type Reply,
  refused,
  reply,
} from "../../src/mail/index.ts";
import {
  type MailServer,
  type MailServerOptions,
  type SmtpEvent,
  startMailServer,
} from "../../src/smtp/index.ts";

export interface Delivery {
  readonly envelope: Envelope;
  /** The message with its `Received` field. */
  readonly content: string;
}

export interface TestServer extends AsyncDisposable {
  readonly server: MailServer;
  readonly events: SmtpEvent[];
  readonly deliveries: Delivery[];
  readonly spoolDirectory: string;
  connect(): Client;
  /** Resolves with the first event of this kind, past or to come. */
  event<Kind extends SmtpEvent["kind"]>(kind: Kind): Promise<Extract<SmtpEvent, { kind: Kind }>>;
}

/** Mailboxes of example.com that refuse mail after DATA, each with its reply. */
const refusals: Readonly<Record<string, Reply>> = {
  full: reply(452, "4.2.2", "Mailbox is full"),
  gone: reply(550, "5.2.1", "Mailbox is disabled"),
};
const mailboxes = [
  "alice",
  "bob",
  "carol",
  "crash",
  "postmaster",
  "用户",
  "a b",
  ...Object.keys(refusals),
];

/** The `checkRecipient`: accepts the mailboxes of example.com and refuses other recipients. */
export function checkMailbox(recipient: Address): Reply | undefined {
  const parts = addressParts(recipient);
  if (parts?.localPart === "oops") throw new Error("the directory is down");
  if (parts?.domain !== "example.com") return reply(550, "5.7.1", "Relaying denied", "rcpt");
  if (mailboxes.includes(parts.localPart)) return undefined;
  return reply(550, "5.1.1", "No such mailbox", "rcpt");
}

export async function startTestServer(
  options: Partial<MailServerOptions> = {},
): Promise<TestServer> {
  const spoolDirectory =
    options.spoolDirectory ?? (await mkdtemp(join(tmpdir(), "postbag-spool-")));
  const events: SmtpEvent[] = [];
  const deliveries: Delivery[] = [];
  const waiting = new Set<() => void>();
  const store: Deliver = async (envelope, message) => {
    deliveries.push({ envelope, content: Buffer.from(await message.bytes()).toString("latin1") });
    return envelope.recipients.map((recipient) => {
      const name = addressParts(recipient)?.localPart ?? "";
      if (name === "crash") throw new Error("the disk failed");
      const refusal = refusals[name];
      return refusal ? refused(refusal) : delivered(reply(250, "2.0.0", `Saved for ${name}`));
    });
  };
  const starting = startMailServer({
    protocol: "smtp",
    listen: { host: "127.0.0.1", port: 0 },
    hostname: "mx.example.com",
    checkRecipient: checkMailbox,
    deliver: store,
    ...options,
    spoolDirectory,
    onEvent: (event) => {
      events.push(event);
      for (const wake of waiting) wake();
    },
  });
  const server = await starting.catch(async (error) => {
    if (!options.spoolDirectory) await rm(spoolDirectory, { recursive: true, force: true });
    throw error;
  });
  return {
    server,
    events,
    deliveries,
    spoolDirectory,
    connect: () => new Client(server.address),
    async event(kind) {
      for (;;) {
        const found = events.find((each) => each.kind === kind);
        if (found) return found as Extract<SmtpEvent, { kind: typeof kind }>;
        await new Promise<void>((resolve) => {
          const wake = () => {
            waiting.delete(wake);
            resolve();
          };
          waiting.add(wake);
        });
      }
    },
    async [Symbol.asyncDispose]() {
      await server.close({ timeoutMs: 100 });
      await rm(spoolDirectory, { recursive: true, force: true });
    },
  };
}

/** A client of a mail server. */
export class Client {
  readonly socket: Socket;
  #received = "";
  #hasEnded = false;
  #wake: () => void = () => {};

  constructor(address: NetConnectOpts) {
    this.socket = connect({ ...address, allowHalfOpen: true });
    this.socket.setEncoding("utf8");
    this.socket.on("data", (text: string) => {
      this.#received += text;
      this.#wake();
    });
    const end = () => {
      this.#hasEnded = true;
      this.#wake();
    };
    this.socket.on("end", end).on("close", end).on("error", end);
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** The next line without its CRLF; `undefined` when the server has closed. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#received.indexOf("\r\n");
      if (end >= 0) {
        const line = this.#received.slice(0, end);
        this.#received = this.#received.slice(end + 2);
        return line;
      }
      if (this.#hasEnded) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The last line of the next reply; `closed` when the server has closed. */
  async reply(): Promise<string> {
    for (;;) {
      const line = await this.line();
      if (line === undefined) return "closed";
      if (line[3] !== "-") return line;
    }
  }

  /** Sends one command and returns the last line of its reply. */
  command(line: string): Promise<string> {
    this.send(`${line}\r\n`);
    return this.reply();
  }

  /** Sends the commands of a transaction up to DATA; every reply must be positive. */
  async begin(hello: string, recipients: readonly string[], parameters = ""): Promise<void> {
    const commands = [
      hello,
      `MAIL FROM:<sender@client.example>${parameters}`,
      ...recipients.map((recipient) => `RCPT TO:<${recipient}>`),
      "DATA",
    ];
    await this.reply();
    for (const command of commands) {
      const answer = await this.command(command);
      if (!/^[23]/.test(answer)) throw new Error(`${command} was answered ${answer}`);
    }
  }

  /** Closes the sending side and returns the remaining lines. */
  async rest(): Promise<string[]> {
    this.socket.end();
    const lines: string[] = [];
    for (;;) {
      const line = await this.line();
      if (line === undefined) return lines;
      lines.push(line);
    }
  }

  async closed(): Promise<void> {
    if (!this.socket.closed) await once(this.socket, "close");
  }
}

/** Waits, turn by turn of the event loop, until a condition holds; rejects after 10 s. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const timeout = AbortSignal.timeout(10_000);
  while (!(await condition())) {
    timeout.throwIfAborted();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
