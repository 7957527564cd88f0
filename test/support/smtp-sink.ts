/**
 * The sink: an SMTP server for tests. A test can change every reply; the sink records the messages
 * received, and which of them it accepted. It shares no code with Postbag.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** One step of a session: a command line, or the message at its final dot. */
export interface SinkStep {
  /** `connect`, `EHLO`, `MAIL`, `RCPT`, `DATA`, `dot`, `QUIT`, … */
  readonly verb: string;
  readonly line: string;
  /** Counts steps of this verb over all connections, from 1. */
  readonly nth: number;
  /** Number of the session, from 1. */
  readonly session: number;
}

/**
 * The answer to a step: a reply, to which CRLF is added. `drop` ends the connection, after the
 * reply if there is one; `hang` never replies; `after` replies when the promise resolves, `afterMs`
 * after a time; `byteMs` sends the reply byte by byte; `undefined` is the usual reply.
 */
export type SinkAnswer =
  | string
  | {
      readonly reply?: string;
      readonly drop?: true;
      readonly hang?: true;
      readonly after?: Promise<unknown>;
      readonly afterMs?: number;
      readonly byteMs?: number;
    }
  | undefined;

export interface SunkMail {
  readonly session: number;
  readonly reversePath: string;
  readonly recipients: readonly string[];
  /** The message without dot-stuffing. */
  readonly data: string;
  /** Whether the sink replied 250. */
  readonly accepted: boolean;
  /** Command lines received before the message's final dot, over all connections. */
  readonly linesBefore: number;
}

export interface SmtpSink extends AsyncDisposable {
  readonly port: number;
  /** Every message whose final dot arrived, in order. */
  readonly mails: readonly SunkMail[];
  /** Command lines received, of all sessions, in order. */
  readonly lines: readonly string[];
  /** Sessions begun. */
  readonly sessions: number;
}

export interface SinkOptions {
  /** Called at each step for its answer. @defaultValue the usual reply to each */
  readonly answer?: (step: SinkStep) => SinkAnswer;
  /** Lines of the reply to EHLO. @defaultValue PIPELINING, 8BITMIME, ENHANCEDSTATUSCODES, SIZE */
  readonly extensions?: readonly string[];
  /** @defaultValue any free port */
  readonly port?: number;
  /** @defaultValue 127.0.0.1 */
  readonly address?: string;
  /** Key and certificate, for STARTTLS or from the first byte; called for each connection. */
  readonly tls?: () => { readonly key: string; readonly cert: string; readonly implicit?: boolean };
}

interface SinkState {
  readonly mails: SunkMail[];
  readonly lines: string[];
  readonly counts: Map<string, number>;
  sessions: number;
}

const usualReplies: Record<string, string> = {
  connect: "220 sink ESMTP",
  HELO: "250 sink",
  MAIL: "250 2.1.0 Sender ok",
  RCPT: "250 2.1.5 Recipient ok",
  DATA: "354 Go on",
  dot: "250 2.0.0 Taken",
  RSET: "250 2.0.0 Reset",
  NOOP: "250 2.0.0 Ok",
  QUIT: "221 2.0.0 Bye",
  AUTH: "235 2.7.0 Welcome",
};

const usualExtensions = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 10000000"];

/** Starts a sink on loopback. */
export async function startSmtpSink(options: SinkOptions = {}): Promise<SmtpSink> {
  const state: SinkState = { mails: [], lines: [], counts: new Map(), sessions: 0 };
  const sockets = new Set<Socket>();
  const server: Server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    state.sessions += 1;
    serveSession(socket, state, options);
  });
  server.listen(options.port ?? 0, options.address ?? "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as { port: number }).port,
    mails: state.mails,
    lines: state.lines,
    get sessions() {
      return state.sessions;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      if (server.listening) await once(server, "close");
    },
  };
}

function serveSession(connected: Socket, state: SinkState, options: SinkOptions): void {
  let socket = connected;
  const session = state.sessions;
  let pending = "";
  let reversePath: string | undefined;
  let recipients: string[] = [];
  let inData = false;
  let busy = Promise.resolve();

  function outOfOrder(verb: string): string | undefined {
    if (verb === "RCPT" && reversePath === undefined) return "503 5.5.1 MAIL first";
    return verb === "DATA" && recipients.length === 0 ? "554 5.5.1 No valid recipients" : undefined;
  }

  async function step(verb: string, line: string): Promise<string | undefined> {
    const nth = (state.counts.get(verb) ?? 0) + 1;
    state.counts.set(verb, nth);
    const extensions = options.extensions ?? usualExtensions;
    const usual =
      verb === "EHLO"
        ? ["sink", ...extensions]
            .map((text, at) => `250${at === extensions.length ? " " : "-"}${text}`)
            .join("\r\n")
        : (outOfOrder(verb) ?? usualReplies[verb] ?? "500 5.5.1 What?");
    const given = options.answer?.({ verb, line, nth, session }) ?? usual;
    const { reply, drop, hang, after, afterMs, byteMs } =
      typeof given === "string"
        ? ({ reply: given } as Exclude<SinkAnswer, string | undefined>)
        : given;
    await after;
    if (afterMs !== undefined) await new Promise((resolve) => setTimeout(resolve, afterMs));
    if (hang) return new Promise(() => {});
    for (const byte of byteMs !== undefined && reply !== undefined ? `${reply}\r\n` : "") {
      await new Promise((resolve) => setTimeout(resolve, byteMs));
      socket.write(byte);
    }
    if (reply !== undefined && byteMs === undefined) socket.write(`${reply}\r\n`);
    if (drop) socket.destroy();
    return reply;
  }

  async function command(line: string): Promise<void> {
    state.lines.push(line);
    const verb = line.split(/[ :]/, 1)[0]?.toUpperCase() ?? "";
    const reply = await step(verb, line);
    const ok = /^[23]/.test(reply ?? "");
    if (verb === "MAIL" && ok) reversePath = /<(.*)>/.exec(line)?.[1] ?? "";
    if (verb === "RCPT" && ok) recipients.push(/<(.*)>/.exec(line)?.[1] ?? "");
    if (verb === "RSET") recipients = [];
    if (verb === "RSET") reversePath = undefined;
    if (verb === "DATA") inData = ok;
    // Without a certificate a sink that accepts STARTTLS disconnects at the handshake.
    if (verb === "STARTTLS" && ok && !options.tls) socket.once("data", () => socket.destroy());
    else if (verb === "STARTTLS" && ok) encrypt();
    if (verb === "QUIT") socket.end();
  }

  async function dot(data: string): Promise<void> {
    inData = false;
    const linesBefore = state.lines.length;
    const mail = { session, reversePath: reversePath ?? "", recipients, data, linesBefore };
    recipients = [];
    reversePath = undefined;
    const at = state.mails.push({ ...mail, accepted: false }) - 1;
    const reply = await step("dot", ".");
    if (reply?.startsWith("250")) state.mails[at] = { ...mail, accepted: true };
  }

  async function process(): Promise<void> {
    for (;;) {
      if (inData) {
        const end = `\r\n${pending}`.indexOf("\r\n.\r\n");
        if (end < 0) return;
        const data = pending.slice(0, end);
        pending = pending.slice(end + 3);
        await dot(data.replace(/^\.\./gm, "."));
        continue;
      }
      const end = pending.indexOf("\r\n");
      if (end < 0) return;
      const line = pending.slice(0, end);
      pending = pending.slice(end + 2);
      await command(line);
    }
  }

  function listen(): void {
    socket.on("data", (chunk) => {
      pending += chunk.toString("latin1");
      busy = busy.then(process);
    });
  }

  function encrypt(): void {
    pending = "";
    socket.removeAllListeners("data");
    socket = new TLSSocket(socket, { isServer: true, ...options.tls?.() });
    socket.on("error", () => {});
    listen();
  }

  busy = busy.then(() => step("connect", "")).then(() => {});
  if (options.tls?.().implicit) encrypt();
  else listen();
}
