/**
 * The client's session with a remote server: opened once, carries one transaction after the other,
 * and is closed after one that ended without a clear reply. Pooled by session-pool.ts.
 *
 * nodemailer's `SMTPConnection` speaks the protocol. This file adds the timeout of each phase, each
 * recipient's own reply, the call of `beforeCommit` before the final dot, and the outcome where the
 * connection ends after the dot.
 *
 * @see RFC 5321 §4.5.3.2 (timeouts), §3.8 (421), §4.5.3.2.6 (the reply to the final dot)
 */
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { TLSSocket } from "node:tls";
import SMTPConnection from "nodemailer/lib/smtp-connection";
import type { DeliverOptions, Envelope, Message, ReplyPhase } from "../../mail/index.ts";
import type { TimerHandle } from "../../system/index.ts";
import { MessageBody } from "./message-body.ts";
import { openSocket } from "./open-socket.ts";
import { RouteFailure, type SessionOptions, type SessionTarget } from "./target.ts";
import {
  brokenReply,
  type ConnectionError,
  endOf,
  failureReply,
  type RecipientReply,
  repliesOf,
  type Stage,
  type TrackedEnvelope,
  type TransactionEnd,
} from "./transaction-end.ts";

/**
 * Connects, greets, encrypts and authenticates.
 *
 * @throws {RouteFailure} When one of these steps fails. The signal's reason when it aborts first.
 */
export async function openSession(
  target: SessionTarget,
  options: SessionOptions,
  signal: AbortSignal,
): Promise<ClientSession> {
  const socket = await openSocket(target, options, signal);
  const session = new ClientSession(socket, target, options);
  try {
    await session.begin(signal);
    return session;
  } catch (error) {
    session.close();
    throw error;
  }
}

export class ClientSession {
  readonly target: SessionTarget;
  /** Transactions carried so far. */
  transactions = 0;
  readonly #connection: SMTPConnection;
  readonly #address: string | undefined;
  readonly #options: SessionOptions;
  /** The TLS version under which the last reply arrived. */
  #protocol = "unencrypted";
  #extensions = "";
  #stage: Stage = "idle";
  #repliesAwaited = 0;
  #timer: TimerHandle;
  #hasEnded = false;
  /** Between the reply to STARTTLS and the first reply after it. */
  #isEncrypting = false;
  /** Fails the step or transaction in progress: on an error, a timeout, an abort, or the end. */
  #giveUp: ((reason: unknown) => void) | undefined;

  constructor(socket: Socket, target: SessionTarget, options: SessionOptions) {
    this.target = target;
    this.#options = options;
    this.#address = socket.remoteAddress;
    this.#connection = connectionOn(socket, target, options, (reply) => this.#onReply(reply));
    this.#connection.on("error", (error) => this.#giveUp?.(error));
    this.#connection.once("end", () => {
      this.#hasEnded = true;
      this.#giveUp?.(new Error("Connection closed"));
    });
  }

  /** Whether another transaction may begin. */
  get isUsable(): boolean {
    return !this.#hasEnded && this.#stage === "idle";
  }

  /** The server's name, address and port, and the encryption. */
  get via(): string {
    const { host, port } = this.target;
    return `${host} [${this.#address}]:${port} ${this.#protocol}`;
  }

  /** Greets, encrypts and authenticates, so that mail can be sent. */
  async begin(signal: AbortSignal): Promise<void> {
    const { auth } = this.target;
    await this.#step("ehlo", signal, (done) => this.#connection.connect(done));
    if (!auth) return;
    const credentials = { user: auth.user, pass: auth.pass };
    await this.#step("ehlo", signal, (done) => this.#connection.login({ credentials }, done));
  }

  /** Whether the server offers an extension, such as `SMTPUTF8`. */
  offers(keyword: string): boolean {
    return new RegExp(`^250[ -]${keyword}(?:\\s|$)`, "im").test(this.#extensions);
  }

  /**
   * Sends one message to these recipients; returns one reply each, in order.
   *
   * @throws The error of `beforeCommit` or of reading the message, or the signal's reason. The
   *   server has then accepted nothing, and the session is closed.
   */
  async transact(
    envelope: Envelope,
    message: Message,
    options: DeliverOptions,
  ): Promise<readonly RecipientReply[]> {
    this.transactions += 1;
    const tracked: TrackedEnvelope = {
      from: envelope.reversePath === "" ? false : envelope.reversePath,
      to: [...envelope.recipients],
      size: message.size,
      use8BitMime: true,
    };
    const failure: { reason?: unknown } = {};
    const body = this.#bodyOf(message, options, failure);
    this.#enter("envelope", this.#options.timeouts.commandMs);
    this.#repliesAwaited = 1 + tracked.to.length;
    const end = await this.#send(tracked, body, options.signal, failure);
    const stage = this.#stage;
    this.#enter("idle");
    if (stage === "envelope" && end.kind === "refused") await this.#reset(options.signal);
    else if (end.kind !== "answered" && stage !== "dot") this.close();
    else if (end.kind === "broken") this.close();
    if (failure.reason !== undefined) throw failure.reason;
    return repliesOf(tracked, end, stage).map((reply) => ({ ...reply, via: this.via }));
  }

  /** Sends QUIT; returns at once. The connection is closed at the reply, or after one second. */
  quit(): void {
    if (this.#hasEnded) return;
    this.#connection.quit();
    this.#setTimer(1_000, () => this.close());
  }

  /** Closes the connection at once. */
  close(): void {
    this.#clearTimer();
    this.#hasEnded = true;
    this.#connection.close();
  }

  /**
   * The message, then `beforeCommit`, then the dot. An error of `beforeCommit` or an abort prevents
   * the dot.
   */
  #bodyOf(message: Message, options: DeliverOptions, failure: { reason?: unknown }): MessageBody {
    const { blockMs, finalDotMs } = this.#options.timeouts;
    return new MessageBody(message, {
      onPiece: () => this.#enter("body", blockMs),
      beforeDot: async () => {
        await options.beforeCommit?.();
        options.signal.throwIfAborted();
      },
      onDot: () => this.#enter("dot", finalDotMs),
      onFailure: (error) => {
        failure.reason = error;
        this.#giveUp?.(error);
      },
    });
  }

  #send(
    envelope: TrackedEnvelope,
    body: MessageBody,
    signal: AbortSignal,
    failure: { reason?: unknown },
  ): Promise<TransactionEnd> {
    const { promise, resolve } = Promise.withResolvers<TransactionEnd>();
    const abort = () => {
      // After the dot only the reply, or its absence, decides.
      if (this.#stage === "dot") return;
      failure.reason = signal.reason;
      this.#giveUp?.(signal.reason);
    };
    this.#giveUp = (reason) => {
      body.stop();
      resolve({ kind: "broken", reply: brokenReply(reason, this.#stage) });
    };
    signal.addEventListener("abort", abort, { once: true });
    this.#connection.send(envelope, body as unknown as Readable, (error, info) => {
      resolve(error ? endOf(error as ConnectionError, this.#stage) : { kind: "answered", info });
    });
    return promise.finally(() => {
      signal.removeEventListener("abort", abort);
      this.#giveUp = undefined;
    });
  }

  /** Clears a transaction that the server still has open (RFC 5321 §4.1.1.5). */
  async #reset(signal: AbortSignal): Promise<void> {
    if (this.#hasEnded) return;
    try {
      await this.#step("mail", signal, (done) => this.#connection.reset(done));
    } catch {
      this.close();
    }
  }

  async #step(
    phase: ReplyPhase,
    signal: AbortSignal,
    run: (done: (error?: Error | null) => void) => void,
  ): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#giveUp = (reason) => {
      const reply = failureReply(reason, phase, this.#isEncrypting);
      reject(new RouteFailure(reply, { cause: reason, via: this.via }));
    };
    this.#setTimer(this.#options.timeouts.greetingMs, () => this.#giveUp?.(tooSlow));
    run((error) => (error ? this.#giveUp?.(error) : resolve()));
    try {
      await promise;
    } finally {
      this.#clearTimer();
      this.#giveUp = undefined;
      signal.removeEventListener("abort", abort);
    }
  }

  #enter(stage: Stage, waitMs?: number): void {
    this.#stage = stage;
    if (waitMs === undefined) this.#clearTimer();
    else this.#setTimer(waitMs, () => this.#giveUp?.(tooSlow));
  }

  /** Notes what a reply says of the session, and starts the wait for the next one. */
  #onReply(reply: string): void {
    const { _socket: socket } = this.#connection;
    if (socket instanceof TLSSocket) this.#protocol = socket.getProtocol() ?? this.#protocol;
    // A 220 after the greeting answers STARTTLS.
    this.#isEncrypting = reply.startsWith("220") && this.#extensions !== "";
    if (/^250[ -].*\n250[ -]/s.test(reply)) this.#extensions = reply;
    if (this.#stage !== "envelope") return;
    this.#repliesAwaited -= 1;
    const { commandMs, dataMs } = this.#options.timeouts;
    this.#enter("envelope", this.#repliesAwaited > 0 ? commandMs : dataMs);
  }

  #setTimer(waitMs: number, onExpired: () => void): void {
    this.#clearTimer();
    this.#timer = this.#options.clock.setTimeout(onExpired, waitMs);
  }

  #clearTimer(): void {
    if (this.#timer !== undefined) this.#options.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/**
 * Makes nodemailer's connection on an open socket. `onReply` gets every reply of the server, which
 * only nodemailer's log reports.
 */
function connectionOn(
  socket: Socket,
  target: SessionTarget,
  { timeouts, name }: SessionOptions,
  onReply: (reply: string) => void,
): SMTPConnection {
  const ignore = () => {};
  const debug = (entry: { tnx?: string }, text: unknown) => {
    if (entry.tnx === "server") onReply(String(text));
  };
  return new SMTPConnection({
    connection: socket,
    host: target.host,
    name,
    secure: target.tls === "implicit",
    requireTLS: target.tls === "required",
    opportunisticTLS: target.tls === "opportunistic",
    ignoreTLS: target.tls === "never",
    tls: { rejectUnauthorized: target.tls !== "opportunistic", ...target.tlsOptions },
    lmtp: target.protocol === "lmtp",
    connectionTimeout: timeouts.greetingMs,
    greetingTimeout: timeouts.greetingMs,
    // The session has a timeout for each phase; nodemailer's own must not end a phase before it.
    socketTimeout: Math.max(...Object.values(timeouts)) + 60_000,
    socketCloseTimeout: 1_000,
    transactionLog: true,
    logger: {
      level: ignore,
      trace: ignore,
      debug,
      info: ignore,
      warn: ignore,
      error: ignore,
      fatal: ignore,
    },
  });
}

const tooSlow = new Error("The server took too long to answer");
