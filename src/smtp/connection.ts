/**
 * The two subclasses through which the session library is driven.
 *
 * The library speaks the protocol; these decide when it greets, how its replies look, how long it waits
 * and when it hangs up. Each override exists because of one trap, named at it and pinned by a test in
 * `library.contract.test.ts`, which must pass before the library's version is changed.
 *
 * @see docs/decisions/0010-smtp-server-by-two-subclasses.md
 */
import type { Socket } from "node:net";
import { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import {
  SMTPServer,
  type SMTPServerAddress,
  type SMTPServerDataResult,
  type SMTPServerDataStream,
  type SMTPServerSession,
} from "smtp-server/lib/smtp-server.js";
import { type Address, formatReply, type Reply, reply } from "../mail/index.ts";
import type { TimerHandle } from "../system/index.ts";
import { type AddressCommand, hangUpText, readAddressCommand, replyLines } from "./command-text.ts";
import type { SessionInfo } from "./events.ts";
import { isLoopback } from "./open-sessions.ts";
import { greetingDelayFor, type Settings } from "./options.ts";
import { forSession, replyError, replyText } from "./outcomes.ts";

/** What the server does at each step of a session; `undefined` goes on, a reply refuses. */
export interface Steps {
  readonly settings: Settings;
  admit(socket: Socket): Reply | undefined;
  connected(connection: Connection): void;
  mail(connection: Connection, path: SMTPServerAddress): Reply | undefined;
  recipient(connection: Connection, path: SMTPServerAddress): Promise<Reply | undefined>;
  /** Takes the message; resolves with the replies to its final dot. Never rejects. */
  message(connection: Connection, stream: SMTPServerDataStream): Promise<readonly Reply[]>;
  timedOut(connection: Connection, given: Reply, limit: "commandTimeoutMs" | "dataTimeoutMs"): void;
  disconnected(connection: Connection): void;
  failed(error: Error): void;
}

type Done = (error?: Error | null) => void;

export class Server extends SMTPServer {
  readonly steps: Steps;
  isClosing = false;
  /** The library's hooks are given a session, not its connection. */
  readonly #bySession = new Map<SMTPServerSession, Connection>();

  constructor(steps: Steps) {
    const { protocol, hostname, limits } = steps.settings;
    super({
      name: hostname,
      lmtp: protocol === "lmtp",
      size: limits.maxMessageBytes,
      maxCommandLength: limits.maxCommandBytes,
      // Who closes the sending side after QUIT, as `nc` can, still reads our replies.
      allowHalfOpen: true,
      hideENHANCEDSTATUSCODES: false,
      heloResponse: "%s",
      // A look-up of every client's name would hold the greeting back and tell nothing we use.
      disableReverseLookup: true,
      // Without a certificate STARTTLS would offer one whose key is published with the library.
      disabledCommands: ["AUTH", "STARTTLS", "WIZ", "SHELL", "KILL", "XCLIENT", "XFORWARD"],
      logger: false,
    });
    this.steps = steps;
    this.on("error", (error: Error) => steps.failed(error));
  }

  /** Trap: without a proxy this still costs a turn of the event loop and random bytes per session. */
  override _handleProxy(
    _socket: Socket,
    callback: (error: null, options: { id: string }) => void,
  ): void {
    sessionCount += 1;
    callback(null, { id: `${idPrefix}${sessionCount.toString(36)}` });
  }

  override connect(socket: Socket, options?: { id?: string } | null): void {
    const refusal = this.isClosing ? shuttingDown : this.steps.admit(socket);
    if (refusal) {
      turnAway(socket, refusal);
      return;
    }
    const connection = new Connection(this, socket, options);
    this.connections.add(connection);
    this.#bySession.set(connection.session, connection);
    connection.on("error", (error: Error) => this.steps.failed(error));
    this.steps.connected(connection);
    connection.init();
  }

  override onMailFrom(path: SMTPServerAddress, session: SMTPServerSession, done: Done): void {
    const connection = this.#connectionOf(session);
    const refusal = this.steps.mail(connection, path);
    if (!refusal) connection.reversePath = path.address;
    done(refusal && replyError(refusal));
  }

  override onRcptTo(path: SMTPServerAddress, session: SMTPServerSession, done: Done): void {
    const connection = this.#connectionOf(session);
    void this.steps.recipient(connection, path).then((refusal) => {
      if (!refusal) connection.recipients.push(path.address);
      done(refusal && replyError(refusal));
    });
  }

  override onData(
    stream: SMTPServerDataStream,
    session: SMTPServerSession,
    done: (error: null, replies: SMTPServerDataResult[]) => void,
  ): void {
    void this.steps
      .message(this.#connectionOf(session), stream)
      .then((replies) => done(null, replies.map(forSession)));
  }

  forget(connection: Connection): void {
    this.#bySession.delete(connection.session);
  }

  #connectionOf(session: SMTPServerSession): Connection {
    const connection = this.#bySession.get(session);
    if (!connection) throw new Error(`session ${session.id} is not of this server`);
    return connection;
  }
}

export class Connection extends SMTPConnection {
  readonly startedMs: number;
  /** Of the transaction under way; absent before MAIL. */
  reversePath: Address | undefined;
  /**
   * Accepted by RCPT, in order, repeats included. Trap: the library's own list merges addresses that
   * differ only in case, and LMTP would then give fewer replies than recipients (RFC 2033 §4.2).
   */
  recipients: Address[] = [];

  /** Called when the client is gone for good. */
  onGone: (() => void) | undefined;

  readonly #server: Server;
  readonly #steps: Steps;
  #hangUpWith: Reply | undefined;
  #timer: TimerHandle;
  #timerDueMs = Number.POSITIVE_INFINITY;
  #deadlineMs = Number.POSITIVE_INFINITY;
  #limit: "commandTimeoutMs" | "dataTimeoutMs" = "commandTimeoutMs";

  constructor(server: Server, socket: Socket, options?: { id?: string } | null) {
    super(server, socket, options);
    this.#server = server;
    this.#steps = server.steps;
    this.startedMs = server.steps.settings.clock.now();
    if (this._parser) this._parser.once("finish", () => this.close());
  }

  /** On this machine: loopback, or a UNIX socket, which has no address. */
  get isLocal(): boolean {
    return isLoopback(this.remoteAddress);
  }

  info(): SessionInfo {
    return {
      id: this.id,
      protocol: this.#steps.settings.protocol,
      ...(this.remoteAddress && {
        clientAddress: this.remoteAddress,
        clientPort: this.remotePort,
      }),
      isLocal: this.isLocal,
      ...(this.hostNameAppearsAs && { helo: this.hostNameAppearsAs }),
      ...(this.reversePath !== undefined && { reversePath: this.reversePath }),
    };
  }

  /** Ends the session: at once when it is idle, else as soon as the message at hand is answered. */
  hangUp(given: Reply): void {
    if (this._dataStream) {
      this.#hangUpWith = given;
      return;
    }
    this.send(given.code, replyText(given));
    // A client that does not close its side would hold up the end of the server for seconds.
    if (this.#server.isClosing) this._socket.destroySoon();
  }

  /** Trap: the library holds every greeting back by 100 ms. */
  override init(): void {
    const { settings } = this.#steps;
    const delayMs = greetingDelayFor(settings, this.isLocal);
    this._setListeners(() => {
      if (delayMs === 0) this.connectionReady();
      else this.#timer = settings.clock.setTimeout(() => this.connectionReady(), delayMs);
    });
  }

  /**
   * Traps: the library writes an enhanced code of its own before a text that brings one, and keeps
   * replies from a client that has closed its sending side.
   */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    const given = [data ?? ""].flat();
    const lines = code === 421 ? given.map(hangUpText) : given;
    const octets = replyLines(code, this._getEnhancedStatusCode(code, context), lines);
    if (this._socket.writable && !this._upgrading) this._socket.write(octets);
    if (code === 421) this.close();
    else this.#expectWithin(code === 354 ? "dataTimeoutMs" : "commandTimeoutMs");
  }

  /** Runs after the replies to a message and before what was pipelined behind it. */
  override _resetSession(): void {
    super._resetSession();
    this.reversePath = undefined;
    this.recipients = [];
    if (this.#hangUpWith) this.hangUp(this.#hangUpWith);
  }

  /** Reads the path by RFC 5321 §4.1.2, where the library knows no quoted local parts. */
  override _parseAddressCommand(name: string, command: Buffer | string): AddressCommand | false {
    const verb = name === "rcpt to" ? "rcpt to" : "mail from";
    return readAddressCommand(verb, command.toString(), this.#steps.settings.postmasterDomain);
  }

  /** Trap: the library knows idle time only, which a byte now and then prolongs without end. */
  override _armTimeout(): void {}

  override _onClose(): void {
    this.#steps.settings.clock.clearTimeout(this.#timer);
    const wasClosed = this._closed;
    super._onClose();
    if (wasClosed) return;
    this.onGone?.();
    this.#server.forget(this);
    this.#steps.disconnected(this);
  }

  /** RFC 5321 §7.3: a host that does not verify must say 252, so that nobody takes it for an answer. */
  override handler_VRFY(_command: Buffer, callback: () => void): void {
    this.send(252, "2.0.0 Cannot verify, but will accept the message and try");
    callback();
  }

  handler_EXPN(_command: Buffer, callback: () => void): void {
    this.send(502, "5.5.1 Command not implemented");
    callback();
  }

  override handler_HELP(_command: Buffer, callback: () => void): void {
    this.send(214, "2.0.0 See RFC 5321");
    callback();
  }

  /** Then it owes nothing, and time does not run against it (RFC 5321 §4.5.3.2). */
  get #isWaitingForUs(): boolean {
    const hasMessage = this._dataStream && this._parser && !this._parser._dataMode;
    return this._handlerPending || Boolean(hasMessage);
  }

  #expectWithin(limit: "commandTimeoutMs" | "dataTimeoutMs"): void {
    const { clock, limits } = this.#steps.settings;
    this.#limit = limit;
    this.#deadlineMs = clock.now() + limits[limit];
    if (this.#deadlineMs < this.#timerDueMs) this.#setTimer(limits[limit]);
  }

  #setTimer(delayMs: number): void {
    const { clock } = this.#steps.settings;
    clock.clearTimeout(this.#timer);
    this.#timerDueMs = clock.now() + delayMs;
    this.#timer = clock.setTimeout(() => this.#onTimer(), delayMs);
  }

  /** One timer a session: it looks at the deadline when it fires, instead of moving at each reply. */
  #onTimer(): void {
    const { clock, limits } = this.#steps.settings;
    this.#timerDueMs = Number.POSITIVE_INFINITY;
    if (this._closing || this._closed) return;
    const leftMs = this.#deadlineMs - clock.now();
    if (leftMs > 0) {
      this.#setTimer(leftMs);
    } else if (this.#isWaitingForUs) {
      this.#setTimer(limits.commandTimeoutMs);
    } else {
      this.#steps.timedOut(this, timeout, this.#limit);
      this.send(timeout.code, replyText(timeout));
    }
  }
}

const idPrefix = `${Math.trunc(performance.timeOrigin).toString(36)}-`;
let sessionCount = 0;
const timeout = reply(421, "4.4.2", "Timeout, closing", "connect");
export const shuttingDown = reply(421, "4.3.2", "Shutting down, try again later", "connect");

/** Says why, and closes without a session. */
function turnAway(socket: Socket, given: Reply): void {
  socket.on("error", () => {});
  socket.write(`${formatReply(given)}\r\n`);
  socket.destroySoon();
}
